"""Typed settings, read once from a mapping, and refused all together if anything is wrong."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Self, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, TypeAdapter, ValidationError

from runtime import env_file, outgoing, redaction
from runtime.endpoints import (
    check_api_base,
    check_database,
    check_elasticsearch,
    check_host,
    check_http,
    check_http_base,
    check_http_without_login,
    check_kafka,
    check_redis,
    check_server,
)
from runtime.errors import Failure, Reason
from runtime.secret_files import FOLDER, Environ
from runtime.setting_faults import fault_of, is_utf8, plain

_DURATION = re.compile(r"(?P<amount>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h|d)?")
_MAPPED: Final = 96  # bits before the IPv4 address in an IPv6 address that holds one
_Follower = tuple[Callable[[Any], None], tuple[str, ...]]  # with the fields that it follows
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


class SettingsError(Failure[Reason]):
    """The environment is invalid; the text lists every problem, one a line, and quotes no value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(
            Reason.SETTINGS_INVALID, "settings are missing or malformed:\n" + "\n".join(f"  {problem}" for problem in problems)
        )
        self.problems = problems


def parse_duration(value: object) -> object:
    """`500ms`, `30s`, `5m`, `2h`, `1d` or plain seconds, as a timedelta; anything that is not text passes through."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError("a duration like 500ms, 30s, 5m or plain seconds is expected")
    try:
        return timedelta(seconds=float(match["amount"]) * _SECONDS[match["unit"]])
    except OverflowError:
        raise ValueError("this duration is too large") from None


class Secret:
    """A secret that never shows itself: its text form is its public id, the first 8 hex digits of its SHA-256."""

    __slots__ = ("id", "value")

    def __init__(self, value: str) -> None:
        self.value = value
        self.id = hashlib.sha256(value.encode()).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"Secret({self.id})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


def parse_secrets(value: object) -> object:
    """Comma-separated live secrets, newest first, as a tuple of Secret."""
    if not isinstance(value, str):
        return value
    return tuple(Secret(part.strip()) for part in value.split(",") if part.strip())


def parse_networks(value: object) -> object:
    """Comma-separated networks such as `10.0.0.0/8, fd00::/8`; anything that is not text passes through."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(_unmapped(ip_network(part.strip(), strict=False)) for part in value.split(",") if part.strip())
    except ValueError:
        raise ValueError("networks like 10.0.0.0/8, comma-separated, are expected") from None


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network of an IPv4-mapped one: addresses are compared in their IPv4 form."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if mapped is None or network.prefixlen < _MAPPED else IPv4Network((mapped, network.prefixlen - _MAPPED))


def listed(parse: Callable[[object], object]) -> BeforeValidator:
    """Parse a comma-separated list, and refuse a text without any item: it would count as unset, and admit or verify nothing."""

    def read(value: object) -> object:
        found = parse(value)
        if value and isinstance(value, str) and not found:
            raise ValueError("has nothing between its commas")
        return found

    return BeforeValidator(read)


def _check_text(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("begins or ends with white space, or has a character that cannot be seen")
    return text


def within(shortest: str, longest: str) -> AfterValidator:
    """Refuse a duration that is shorter or longer: a loop would spin, or never wake."""
    least, most = parse_duration(shortest), parse_duration(longest)
    assert isinstance(least, timedelta)  # noqa: S101  # narrows the type
    assert isinstance(most, timedelta)  # noqa: S101  # same

    def check(duration: timedelta) -> timedelta:
        if not least <= duration <= most:
            raise ValueError(f"a duration from {shortest} to {longest} is expected")
        return duration

    return AfterValidator(check)


_AnyDuration = Annotated[timedelta, BeforeValidator(parse_duration)]
Duration = Annotated[_AnyDuration, within("1ms", "30d")]
Grace = Annotated[_AnyDuration, within("0s", "30d")]
"""A duration that may be zero."""
Timeout = Annotated[_AnyDuration, within("1ms", "1h")]
"""The time limit of one operation."""
Interval = Annotated[_AnyDuration, within("1ms", "1m")]
Poll = Annotated[_AnyDuration, within("1ms", "30s")]  # a loop that is silent for a minute counts as hung
"""The time between two looks of a loop."""
Secrets = Annotated[tuple[Secret, ...], listed(parse_secrets)]
Text = Annotated[str, AfterValidator(_check_text)]
"""A text that counts as it is, such as the name of a user."""
# Never in a repr: an address may hold a password.
DatabaseUrl = Annotated[str, AfterValidator(check_database), Field(repr=False)]
ServerUrl = Annotated[str, AfterValidator(check_server), Field(repr=False)]
ElasticsearchUrl = Annotated[ServerUrl, BeforeValidator(check_elasticsearch)]
# Fields that may be None use these types too, and state `Field(repr=False)` themselves: pydantic ignores it within a union.
RedisUrl = Annotated[str, AfterValidator(check_redis)]
HttpUrl = Annotated[str, AfterValidator(check_http)]
HttpBase = Annotated[str, AfterValidator(check_http_base)]
HttpUrlWithoutLogin = Annotated[str, AfterValidator(check_http_without_login)]
ApiBase = Annotated[str, AfterValidator(check_api_base)]
ApiBaseWithoutLogin = Annotated[HttpUrlWithoutLogin, AfterValidator(check_api_base)]
KafkaServers = Annotated[str, AfterValidator(check_kafka)]
Host = Annotated[str, AfterValidator(check_host)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], listed(parse_networks)]
LockLease = Annotated[_AnyDuration, within("2s", "1m")]
"""With less, a loaded machine would lose its locks; with more, others would wait too long for those of a stopped process."""
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """The base of every process's settings: frozen, and named after the environment variable in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True, hide_input_in_errors=True)
    _newest: "Settings | None" = PrivateAttr(default=None)
    _followers: list[_Follower] = PrivateAttr(default_factory=list)
    _behind: list[_Follower] = PrivateAttr(default_factory=list)

    @property
    def newest(self) -> Self:
        """These settings with the current secrets: a file that holds one may have changed since these were read."""
        return cast("Self", self._newest or self)

    def on_change(self, follow: Callable[[Self], None], *fields: str) -> None:
        """
        Call this with the newest settings whenever one of these fields has changed, or any; in a thread of the watch.

        It is called at once if they have changed since the start, while this process waited for a server.
        """
        followed = fields or tuple(type(self).model_fields)
        self._followers.append((follow, followed))
        if self._differ(self, self.newest, followed):
            follow(self.newest)

    def renew(self, newest: "Settings") -> None:
        """Let these be the newest settings. A follower that raises does so after the others, and is called again next time."""
        # Set before the followers are called, so that a follower that is added meanwhile misses nothing.
        before, self._newest = self.newest, newest
        with ExitStack() as calls:  # calls the last one first
            for follower in reversed(self._followers):
                if follower in self._behind or self._differ(before, newest, follower[1]):
                    calls.callback(self._call, follower, newest)

    def _call(self, follower: _Follower, newest: "Settings") -> None:
        self._behind.append(follower)
        follower[0](newest)
        self._behind = [each for each in self._behind if each != follower]

    @staticmethod
    def _differ(one: "Settings", other: "Settings", fields: tuple[str, ...]) -> bool:
        return any(getattr(one, field) != getattr(other, field) for field in fields)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """
        Read the settings from a mapping such as the one of `environment`.

        Raises SettingsError with every problem at once.
        """
        given = cls.given(environ)
        faults = environ.files.faults if isinstance(environ, Environ) else {}
        quoted = [f"{name}: {fault}" for name, fault in faults.items() if name == FOLDER or cls.reads(name)]
        quoted += [
            f"{name}: {fault}" for name, text in given.items() if (fault := fault_of(text, cls.model_fields.get(name.lower())))
        ]
        garbled = not all(map(is_utf8, given.values()))
        problems: list[str] = []
        try:
            found = cls.model_validate(cls.gather(given))
        except ValidationError as error:
            problems = [f"{cls.variable(problem['loc'])}: {plain(problem)}" for problem in error.errors()]
        named = {problem.partition(":")[0] for problem in quoted}
        problems = quoted + [problem for problem in problems if problem.partition(":")[0] not in named]
        unread = {name for name in faults if cls.reads(name)}
        if not garbled:  # the default in place of a garbled text may contradict other settings
            problems += [problem for problem in cls.conflicts(given) if problem.partition(":")[0] not in unread]
        if problems:
            raise SettingsError(problems)
        return found

    @classmethod
    def reads(cls, name: str) -> bool:
        """Return whether this variable is read here; a subclass that reads other variables than its fields adds them."""
        return name.lower() in cls.model_fields

    @classmethod
    def given(cls, environ: Mapping[str, str]) -> dict[str, str]:
        """The variables that are set and read here; a subclass that reads other variables than its fields adds them."""
        return {name: text for field in cls.model_fields if (text := environ.get(name := field.upper()))}

    @classmethod
    def gather(cls, given: Mapping[str, str]) -> dict[str, Any]:
        """The texts by field; a subclass that reads several variables into one field does so here."""
        return {field: given[field.upper()] for field in cls.model_fields if field.upper() in given}

    @classmethod
    def conflicts(cls, given: Mapping[str, str]) -> Iterator[str]:  # noqa: ARG003  # for subclasses
        """Yield the faults of several variables in combination, as `NAME: fault`."""
        yield from ()

    @classmethod
    def variable(cls, place: tuple[int | str, ...]) -> str:
        """The name of the variable that was read into this place of the fields."""
        return str(place[0]).upper() if place else "settings"

    @classmethod
    def value(cls, name: str, given: Mapping[str, str]) -> Any:
        """Parse this variable alone; returns its default if it is not set, and None if its text is malformed."""
        field = cls.model_fields[name.lower()]
        if name not in given:
            return field.get_default() if not field.is_required() else None
        with suppress(ValidationError):
            kind = TypeAdapter[Any](field.rebuild_annotation(), config=ConfigDict(arbitrary_types_allowed=True))
            return kind.validate_python(given[name])
        return None


def environment(directory: Path | None = None) -> Environ:
    """
    The process environment over the `.env` file of the directory (default: the working directory), with the settings from files.

    From then on no log line or error shows its secrets (`runtime/redaction.py`), and libraries use its certificates and proxies
    (`runtime/outgoing.py`).

    Raises SettingsError for a file that cannot be read, with every line at fault.
    """
    file = env_file.read((directory or Path.cwd()) / ".env")
    if file.problems:
        raise SettingsError(file.problems)
    return merged(file)


def merged(file: env_file.EnvFile) -> Environ:
    """The process environment over this file; its secrets are redacted from then on."""
    found = Environ(file.values | dict(os.environ))
    redaction.hide_secrets_of(found)
    outgoing.configure_network(found)
    return found
