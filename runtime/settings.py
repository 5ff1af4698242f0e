"""Typed settings, read once from a mapping, refused all together when anything is wrong."""

import hashlib
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Self

from dotenv import dotenv_values
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from runtime import redaction
from runtime.addresses import WITHHELD, leads_somewhere, shown

_DURATION = re.compile(r"(?P<amount>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)?")
_QUOTE: Final = (
    "write each special character of its password as %XX (%25 for %, %40 for @, %2F for /, %3A for :, %23 for #, %3F for ?)"
)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


class SettingsError(Exception):
    """The environment does not make sense; the text lists every problem, one a line, and no value."""

    reason = "settings_invalid"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("settings are missing or malformed:\n" + "\n".join(f"  {problem}" for problem in problems))
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
        raise ValueError("this duration is longer than can be told") from None


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


def check_address(url: str) -> str:
    """Raises ValueError for an address that no client could use: they would quote it in their own errors, with its password."""
    if not leads_somewhere(url):
        raise ValueError(f"is no address that can be read: {_QUOTE}")
    return url


def check_server(url: str) -> str:
    """Raises ValueError for what is no address of a server, which has an @ only before its host."""
    if shown(url) == WITHHELD:
        raise ValueError(f"is no address of a server that can be read: {_QUOTE}")
    return url


def check_database(url: str) -> str:
    """Raises ValueError for what is no address of Postgres."""
    try:
        conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError(f"is no address of Postgres that can be read: {_QUOTE}") from None
    if url.partition("://")[2].partition("/")[0].count("@") > 1:  # libpq ends the password at the first, others at the last
        raise ValueError(f"has an @ too many: {_QUOTE}")
    return url


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
"""May be none at all."""
Timeout = Annotated[_AnyDuration, within("1ms", "1h")]
"""How long one thing may take."""
Poll = Annotated[_AnyDuration, within("1ms", "1m")]
"""How often a loop looks."""
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(parse_secrets)]
# Never in a repr: an address may hold a password.
ServerUrl = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.]*://.+"), AfterValidator(check_server), Field(repr=False)]
DatabaseUrl = Annotated[str, StringConstraints(pattern=r"^postgres(ql)?://.+"), AfterValidator(check_database), Field(repr=False)]
LockLease = Annotated[_AnyDuration, within("2s", "1m")]
"""Below, a loaded machine would lose its locks; above, what a stopped process holds would wait for long."""
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """The base of every process's settings: frozen, and named after the environment variable in lower case."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True, hide_input_in_errors=True)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """
        Read the settings from a mapping such as the one of `environment`.

        Raises SettingsError with every problem at once.
        """
        try:
            return cls.model_validate(cls.gather(environ))
        except ValidationError as error:
            raise SettingsError([_describe(problem) for problem in error.errors()]) from None

    @classmethod
    def gather(cls, environ: Mapping[str, str]) -> dict[str, Any]:
        """The texts of the fields that are set; a kind of settings that reads several variables into one field adds it here."""
        return {name: text for name in cls.model_fields if (text := environ.get(name.upper()))}


def _describe(problem: Any) -> str:
    # A field inside a field (PARTNERS, ACME, crm_url) reads as one name.
    name = "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else "settings"
    return f"{name}: {'is required' if problem['type'] == 'missing' else problem['msg']}"


def environment(directory: Path | None = None) -> dict[str, str]:
    """
    The process environment over the `.env` file of the directory (default: the working directory).

    Its secrets are known from then on, so that no log line or error shows them (`runtime/redaction.py`).
    """
    path = (directory or Path.cwd()) / ".env"
    from_file = {name: value for name, value in dotenv_values(path).items() if value is not None}
    found = from_file | dict(os.environ)
    redaction.learn(found)
    return found
