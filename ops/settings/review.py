"""
Reviews the settings of all processes together, from the file and from the environment, without connecting to anything.

It also finds names that are set and that no process reads, with the setting that was probably meant.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Final, NamedTuple

from gateway.roles import shared_secrets
from ops.settings.kinds import KINDS, OF_THE_FILE, OTHERS, PROCESSES
from runtime import env_file, outgoing, secret_files
from runtime.env_file import EnvFile
from runtime.secret_files import SUFFIX, Environ, setting_of
from runtime.settings import Settings, SettingsError, merged
from schemas.partners import FIELDS, partner_of

SETTINGS: Final = frozenset({*outgoing.LOWER, secret_files.FOLDER}).union(
    field.upper() for kind in (*KINDS, *OTHERS, *OF_THE_FILE) for field in kind.model_fields if field != "partners"
)
OF_SHELLS: Final = frozenset({"PUBLIC_URL", "INTERNAL_URL", "ADMIN_TOKEN"})
"""Variables that `./dev env` adds for the commands of the runbooks, and that no process reads."""
_NEAR: Final = 0.85
_SIMILAR: Final = 0.6
_OF_OTHERS: Final = frozenset({"POSTGRES", "OTEL"})
"""Families of which others have many more variables than we read."""
_FAMILIES: Final = frozenset({name.partition("_")[0] for name in SETTINGS} | {"PARTNER"}) - _OF_OTHERS
_ALIASES: Final = {
    **dict.fromkeys(("DB_URL", "PG_URL", "POSTGRES_URL", "POSTGRESQL_URL", "DATABASE_DSN", "POSTGRES_DSN"), "DATABASE_URL"),
    **dict.fromkeys(("DATABASE_HOST", "POSTGRES_HOST"), "DATABASE_URL"),
    **dict.fromkeys(
        ("ELASTIC_URL", "ES_URL", "OPENSEARCH_URL", "ELASTICSEARCH_HOST", "ELASTICSEARCH_HOSTS"), "ELASTICSEARCH_URL"
    ),
    **dict.fromkeys(
        ("KAFKA_BROKERS", "KAFKA_URL", "KAFKA_SERVERS", "KAFKA_HOST", "BOOTSTRAP_SERVERS"), "KAFKA_BOOTSTRAP_SERVERS"
    ),
    "REDIS_HOST": "REDIS_URL",
}
# Kubernetes puts the address of every service of the namespace into the environment of each container.
_SERVICE_LINK: Final = re.compile(r".+_(SERVICE_(HOST|PORT)(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")


class Unread(NamedTuple):
    """A name that nothing reads; `near` if it can only be a misspelling of the `meant` one."""

    name: str
    meant: str | None
    near: bool


def unread(names: Iterable[str], *, families: bool) -> Iterator[Unread]:
    """Names that look like our settings and are none; with `families` also those that only begin like ours."""
    for name in names:
        if _is_known(name):
            continue
        meant, near = _meant(name)
        if near or (families and (meant or name.partition("_")[0] in _FAMILIES)):
            yield Unread(name, meant, near)


def _is_known(name: str) -> bool:
    setting = setting_of(name) or name
    return setting in SETTINGS or partner_of(setting) is not None


def is_service_link(name: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(name))


def _meant(name: str) -> tuple[str | None, bool]:
    upper = name.upper().replace("-", "_").strip("_")
    if setting := setting_of(upper):
        meant, near = _meant(setting)
        return meant and meant + SUFFIX, near
    for known in (upper, upper.removesuffix(SUFFIX)):  # with a suffix, it is no secret, and so never in a file
        if known in SETTINGS or partner_of(known):
            return known, True
    if get_close_matches(upper.partition("_")[0], ["PARTNER"], cutoff=_NEAR):
        found = _partners(upper)
        return found, found is not None
    if alias := _ALIASES.get(upper):
        return alias, False
    # MY_DATABASE_URL and DATABASE_URL_REPLICA are names that a person has chosen, not misspellings.
    close = get_close_matches(upper, sorted(SETTINGS), 1, _NEAR)
    if close and not upper.endswith(f"_{close[0]}") and not upper.startswith(f"{close[0]}_"):
        return close[0], True
    family = upper.partition("_")[0]
    relatives = [known for known in SETTINGS if known.partition("_")[0] == family] if family in _FAMILIES else []
    return next(iter(get_close_matches(upper, sorted(relatives), 1, _SIMILAR)), None), False


def _partners(upper: str) -> str | None:
    """Guess the variable of a partner that was meant: it ends in one of four words after the id of the partner."""
    _, _, rest = upper.partition("_")
    if f"_{rest}" in FIELDS:
        return f"PARTNER_{{ID}}_{rest}"
    cuts = [place for place, letter in enumerate(rest) if letter == "_" and place]
    scored = [(SequenceMatcher(None, rest[cut:], end).ratio(), f"PARTNER_{rest[:cut]}{end}") for cut in cuts for end in FIELDS]
    score, found = max(scored, default=(0.0, ""))
    return found if score >= _SIMILAR else None


_MISSING: Final = ": is required"
_LISTENERS: Final = ("PUBLIC_PORT", "INTERNAL_PORT", "RELAY_WEB_PORT", "STREAMS_WEB_PORT")
ADVICE: Final = "correct them in .env or the environment; env.example explains each setting"


class Review(NamedTuple):
    """Each line is `NAME: what`, and holds no value; a problem keeps a process from starting, a warning does not."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    def check(self) -> None:
        """Raise SettingsError with all problems."""
        if self.problems:
            raise SettingsError([*self.problems, ADVICE])


def review(
    directory: Path,
    processes: Collection[str] = tuple(PROCESSES),
    *,
    provided: Mapping[str, str] | None = None,
    one_machine: bool = False,
) -> Review:
    """
    Find the errors that these processes would meet in the `.env` of the directory and the process environment above it.

    `provided` are the caller's values for settings that are not set; on `one_machine` no two listeners can have the same port.
    A setting that is malformed for other processes only is a warning.
    """
    file = env_file.read(directory / ".env")
    found = merged(file)
    environ = Environ({name: text for name, text in found.given.items() if text})
    for name, text in (provided or {}).items():
        environ.setdefault(name, text)
    return review_of(environ, file, processes, one_machine=one_machine)


def review_of(
    environ: Mapping[str, str],
    file: EnvFile = env_file.NOTHING,
    processes: Collection[str] = tuple(PROCESSES),
    *,
    one_machine: bool = False,
) -> Review:
    """The same for settings that are read already."""
    wanted = {kind for name in processes for kind in PROCESSES[name]}
    problems, warnings = dict.fromkeys(file.problems), dict.fromkeys((*file.doubts, *_doubled(file)))
    for kind in KINDS:
        if kind in wanted:
            problems |= dict.fromkeys(_problems_of(kind, environ))
    for kind in (*KINDS, *OTHERS, *OF_THE_FILE):
        if kind not in wanted:
            kept = problems if kind not in KINDS and len(wanted) == len(KINDS) else warnings
            kept |= dict.fromkeys(_malformed(kind, file.values if kind in OF_THE_FILE else environ))
    warnings |= dict.fromkeys(_out_of_place(environ.get(secret_files.FOLDER, "")))
    warnings |= dict.fromkeys(shared.text for shared in shared_secrets(environ) if not shared.gives_access)
    problems |= dict.fromkeys(_shared_ports(environ)) if one_machine else {}
    for slip in unread(file.values, families=True):
        fatal = slip.near and not environ.get(slip.meant or "")
        (problems if fatal else warnings)[_message(slip, file)] = None
    for slip in unread((name for name in environ if name not in file.values), families=False):
        if not is_service_link(slip.name) and slip.name not in OF_SHELLS:
            warnings[_message(slip, file)] = None
    return Review(tuple(problems), tuple(warning for warning in warnings if warning not in problems))


def _malformed(kind: type[Settings], environ: Mapping[str, str]) -> list[str]:
    return [problem for problem in _problems_of(kind, environ) if not problem.endswith(_MISSING)]


def _problems_of(kind: type[Settings], environ: Mapping[str, str]) -> list[str]:
    try:
        kind.load(environ)
    except SettingsError as error:
        return error.problems
    return []


def _shared_ports(environ: Mapping[str, str]) -> Iterator[str]:
    owners: dict[int, str] = {}
    for name in _LISTENERS:
        text = environ.get(name, "").strip()
        port = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0  # noqa: PLR2004  # digits of a port
        if port and owners.setdefault(port, name) != name and name != "INTERNAL_PORT":  # which the gateway refuses itself
            yield f"{name}: is {owners[port]} too, and two listeners of one machine cannot share a port"


def _out_of_place(folder: str) -> Iterator[str]:
    with suppress(OSError):  # the settings themselves report it
        for name in sorted(path.name for path in Path(folder).iterdir()) if folder else ():
            if name in SETTINGS and setting_of(name + SUFFIX) is None:
                yield f"{name}: is in {secret_files.FOLDER} and not read from there, where only secrets and addresses are"


def _doubled(file: EnvFile) -> Iterator[str]:
    for name, lines in file.lines.items():
        if len(lines) > 1 and name in SETTINGS:
            yield f"{name}: is set on lines {', '.join(map(str, lines))} of .env, and the last one counts"


def _message(slip: Unread, file: EnvFile) -> str:
    lines = file.lines.get(slip.name)
    where = f" (line {lines[-1]} of .env)" if lines else ""
    meant = f"; {slip.meant} is" if slip.meant and slip.near else f"; the nearest one is {slip.meant}" if slip.meant else ""
    return f"{slip.name}: is no setting{meant}{where}"
