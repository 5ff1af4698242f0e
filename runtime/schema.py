"""
The revisions of the schema that this code can run on, and the check of the database against them.

The range follows from the names of the migrations. The lower bound is this release's newest `expand`: below it tables or columns
are missing. Above its own newest revision every further `expand` is fine, since old code runs on it; a `contract` is fine for as
long as this release is not older than the `oldest_code` that it names, which the chain writes into `schema_contracts`.
"""

import re
import threading
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import psycopg
import structlog
from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from runtime.errors import Failure, Reason
from runtime.excerpts import excerpt_of
from runtime.handshakes import explained
from runtime.process import Stop
from runtime.sessions import connect

log = structlog.get_logger()

_MIGRATION: Final = re.compile(r"(\d{4})_(expand|contract)_\w+\.py")
_STATEMENT: Final = timedelta(seconds=5)
_EVERY: Final = 30.0  # seconds between two looks while the schema fits; each opens a connection
_SOON: Final = 0.5  # seconds between two looks while it does not fit, or is unknown
_TURN: Final = 0.1  # seconds between two checks for a request to stop

_TABLES: Final = "select to_regclass('alembic_version') is not null, to_regclass('schema_contracts') is not null"
_REVISION: Final = "select version_num from alembic_version"
_OLDEST_CODE: Final = "select max(oldest_code) from schema_contracts"
# A copy of the data in another server or under another name is another system.
_SYSTEM: Final = """
select left(encode(sha256(convert_to(s.system_identifier || '/' || d.oid, 'UTF8')), 'hex'), 12)
from pg_control_system() s, pg_database d where d.datname = current_database()
"""


class Schema(NamedTuple):
    """
    The schema of a database: its revision, None if it is empty, and the oldest code that may run on it, if a contract names one.

    `system` identifies the database among all others, as a digest; None where this account may not read it.
    """

    revision: str | None
    oldest_code: str | None = None
    system: str | None = None


class Unfit(NamedTuple):
    """The reason why this code cannot run on a schema, with both revisions and the remedy."""

    reason: Reason
    detail: str


class SchemaUnfit(Failure[Reason]):
    """The database is not at a revision that this code can run on."""

    def __init__(self, unfit: Unfit) -> None:
        super().__init__(unfit.reason, unfit.detail)


@cache
def _migrations() -> tuple[tuple[str, str], ...]:
    """Return revision and kind of each migration of this release, in order."""
    names = (_MIGRATION.fullmatch(file.name) for file in files("migrations").joinpath("versions").iterdir())
    return tuple(sorted((name[1], name[2]) for name in names if name))


def needed() -> str:
    """Return the oldest revision that this code can run on."""
    return max(revision for revision, kind in _migrations() if kind == "expand")


def newest() -> str:
    """Return the newest revision that this code knows."""
    return _migrations()[-1][0]


def read_schema(connection: Connection[Any]) -> Schema:
    """Read the schema of the database; the connection is in autocommit mode. Raises psycopg.Error."""
    known, contracts = _row(connection, _TABLES)
    [revision] = _row(connection, _REVISION) if known else (None,)
    [oldest] = _row(connection, _OLDEST_CODE) if contracts else (None,)
    try:
        [system] = _row(connection, _SYSTEM)
    except InsufficientPrivilege:
        system = None
    return Schema(revision, oldest, system)


def _row(connection: Connection[Any], statement: Any) -> tuple[Any, ...]:
    return connection.execute(statement).fetchone() or (None,)


def unfit(found: Schema) -> Unfit | None:
    """Return the reason why this code cannot run on the schema, or None."""
    if found.revision is None:
        return Unfit(Reason.SCHEMA_MISSING, f"the database has no schema, revision {needed()} is needed: run `tallyhook migrate`")
    if found.revision < needed():
        detail = f"the schema is at revision {found.revision}, {needed()} or a later one is needed: run `tallyhook migrate`"
        return Unfit(Reason.SCHEMA_BEHIND, detail)
    if found.oldest_code and found.oldest_code > newest():
        detail = (
            f"the schema is at revision {found.revision}, which has removed what releases before {found.oldest_code} need,"
            f" and this one has {newest()}: deploy a later release"
        )
        return Unfit(Reason.SCHEMA_AHEAD, detail)
    return None


def check_schema(connection: Connection[Any]) -> None:
    """Check that this code can run on the database. Raises SchemaUnfit."""
    if found := unfit(read_schema(connection)):
        raise SchemaUnfit(found)


class SchemaWatch:
    """
    Looks at the schema twice a minute, and more often while it does not fit, in its own thread between `start` and `stop`.

    Each change is logged once.

    While Postgres is away or refuses the connection, the result of the last look is kept.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = f"{name} schema"
        self._away = ""
        self._ending = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self.found: Schema | None = None
        """The schema at the last look, None before the first one."""
        self.unfit: Unfit | None = None
        """The reason why this process cannot work on that schema; None if it can."""

    @property
    def fits(self) -> bool:
        """Report whether the last look found a schema that this process can work on."""
        return self.found is not None and self.unfit is None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()

    def wait_looked(self, seconds: float) -> bool:
        """Wait for the first look, for this long at most; return whether there was one."""
        return self._looked.wait(seconds)

    def wait_fit(self, stop: Stop) -> bool:
        """Wait until the process can work, or its stop is requested; return whether it can work."""
        while not self.fits and not stop.requested:
            stop.wait(_TURN)
        return self.fits

    def fields(self) -> dict[str, Any]:
        """Return the fields for a page of the process: its system, and the revisions found and needed."""
        found = self.found or Schema(None)
        shown: dict[str, Any] = {"schema": {"found": found.revision, "needed": needed()}}
        if found.system:
            shown["system"] = found.system
        return shown | (self.unfit._asdict() if self.unfit else {})

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                with connect(self._url, name=self._name, statement=_STATEMENT) as connection:
                    self._note(read_schema(connection))
            except psycopg.Error as error:
                self._note_away(excerpt_of(error).strip())
            self._ending.wait(_EVERY if self.fits else _SOON)

    def _note_away(self, error: str) -> None:
        """Log why Postgres cannot be reached, once for each reason, while this process waits for it."""
        if error != self._away:
            log.warning("schema_unknown", reason="postgres_unavailable", error=explained(error, self._url))
        self._away = error

    def _note(self, found: Schema) -> None:
        self._away = ""
        now = unfit(found)
        if now and now != self.unfit:
            log.error("not_ready", reason=now.reason, error=now.detail)
        elif self.unfit and not now:
            log.info("schema_fits", revision=found.revision)
        self.found, self.unfit = found, now
        self._looked.set()
