"""
A rebuild from beginning to end.

The tables are built beside the live ones while workers run, and brought up to date until few events are left. Then one
transaction locks the live tables against writers, adds the rest, compares every row, and corrects those that differ. A command
that is killed before the commit has changed nothing; the next run drops its schema.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import psycopg
from psycopg import Connection, sql

from operations.errors import OperationError, Reason
from operations.offset_replay.schema import create, shadow_schema, table_exists
from operations.rebuild.builder import Builder, Progress
from operations.rebuild.compare import correct, judge
from operations.rebuild.sources import UNEXPLAINED, Counted, Source
from outbox.tables import metadata
from runtime.heartbeat import Heartbeat
from runtime.lease import Lease
from streams.processor import Postponed
from streams.settings import StreamSettings

_LEFT_MAX: Final = 200  # events that may be left when the tables are locked
_ROUNDS: Final = 50
_TRIES: Final = 5
_SPARE: Final = 5  # seconds
_LOCK_TIMEOUT: Final = "2s"  # a waiting lock blocks all later statements on the table, so give up and try again

_ERASURES: Final = """
select exists (select from erasures
               where touched_at >= %s or (state = 'running' and touched_at > clock_timestamp() - interval '1 minute'))
"""

Describe = Callable[[str], Progress]
"""Called at the beginning of each step; returns the function that takes its progress."""


@dataclass
class Outcome:
    """The result of one source; `locked` is the time for which its tables could not be written, in seconds."""

    source: str
    parts: list[Counted]
    from_log: int = 0
    from_kafka: int = 0
    gone: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    changed: int | None = None
    locked: float = 0.0
    seconds: float = 0.0
    not_in_log: str = ""

    @property
    def unexplained(self) -> int:
        return sum(part.number(*UNEXPLAINED) for part in self.parts)

    @property
    def lost(self) -> int:
        return sum(part.number("lost") for part in self.parts)


class Rebuild:
    """The options of a rebuild; `limit` bounds how long tables are locked, `postponed` gets why an attempt is repeated."""

    def __init__(
        self,
        connection: Connection,
        settings: StreamSettings,
        describe: Describe,
        *,
        limit: timedelta,
        postponed: Postponed,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._describe = describe
        self._limit = limit
        self._postponed = postponed

    def run(self, source: Source, *, dry_run: bool, yes: bool) -> Outcome:
        """
        Build the source's tables again and correct the live ones; unexplained differences are corrected only if `yes` is set.

        Raises OperationError, BrokerError, psycopg.Error.
        """
        for table in source.needs:
            if not table_exists(self._connection, table) and table != "history":
                raise OperationError(
                    Reason.TABLE_MISSING, f"the table {table} is missing, and {source.name} needs it: rebuild it first"
                )
        if not dry_run:
            self._make_history()
        lease = Lease(self._settings.database_url, "rebuild", self._settings.lock_lease, Heartbeat("rebuild"))
        with lease, shadow_schema(self._connection, lease.connection, source.tables, keep=False) as schema:
            return asyncio.run(self._run(source, schema, dry_run=dry_run, yes=yes))

    def _make_history(self) -> None:
        """Create `history` if it is missing: workers need it, and an empty one does no harm, since the marks remain."""
        if not table_exists(self._connection, "history"):
            create(self._connection, metadata.tables["history"])

    def _now(self) -> datetime:
        [(now,)] = self._connection.execute("select clock_timestamp()").fetchall()
        return now  # type: ignore[no-any-return]  # a time of Postgres

    async def _run(self, source: Source, schema: str, *, dry_run: bool, yes: bool) -> Outcome:
        began = self._now()
        clock = time.monotonic()
        progress = self._describe(f"building {source.name} from the log")
        async with Builder(self._connection, self._settings, schema, source, progress, postponed=self._postponed) as builder:
            for _ in range(_ROUNDS):
                if await builder.catch_up() <= _LEFT_MAX:
                    break
            for table in source.tables:
                self._connection.execute(sql.SQL("analyze {}").format(sql.Identifier(schema, table)))
            self._describe("comparing")(0, 0)
            with self._connection.transaction():
                self._connection.execute("set transaction isolation level repeatable read")
                parts = [judge(self._connection, schema, part) for part in source.parts]
            outcome = Outcome(source.name, parts)
            if not dry_run and (yes or not outcome.unexplained) and any(self._is_due(part) for part in parts):
                self._describe("correcting the live tables")(0, 0)
                outcome = await self._swap(source, schema, builder, began, yes=yes)
            outcome.from_log, outcome.from_kafka, outcome.gone = builder.from_log, builder.from_kafka, builder.gone
            outcome.set_aside, outcome.seconds = builder.set_aside(), time.monotonic() - clock
            back = {counted.part.name for counted in outcome.parts if counted.number("missing")}
            outcome.not_in_log = source.not_in_log if back - {"history"} else ""  # rows of the history are complete
        return outcome

    def _is_due(self, part: Counted) -> bool:
        return part.number(*_TO_CHANGE) > 0 or not table_exists(self._connection, part.part.name)

    async def _swap(self, source: Source, schema: str, builder: Builder, began: datetime, *, yes: bool) -> Outcome:
        for left in range(_TRIES, 0, -1):
            try:
                return await self._try(source, schema, builder, began, yes=yes)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                if left == 1:
                    raise OperationError(
                        Reason.TABLES_BUSY, f"{', '.join(source.locks)} could not be locked: try again"
                    ) from None
                await asyncio.sleep(1)
            except (psycopg.errors.QueryCanceled, TimeoutError):
                detail = f"the tables were locked for {self._limit.total_seconds():g} s; nothing was changed: allow more time"
                raise OperationError(Reason.LOCK_LIMIT_REACHED, f"{detail} with --lock-limit") from None
        raise AssertionError

    async def _try(self, source: Source, schema: str, builder: Builder, began: datetime, *, yes: bool) -> Outcome:
        """Lock, add the remaining events, compare, correct and compare again, in one transaction."""
        with self._connection.transaction():
            clock = self._lock(source)
            async with asyncio.timeout(self._limit.total_seconds()):
                await builder.catch_up()
            self._refuse_erasures(began)
            parts = [judge(self._connection, schema, part) for part in source.parts]
            outcome = Outcome(source.name, parts)
            if outcome.unexplained and not yes:
                return outcome
            outcome.changed = sum(correct(self._connection, schema, part) for part in parts)
            after = [judge(self._connection, schema, part.part) for part in parts]
            if left := sum(part.number(*_TO_CHANGE) for part in after):
                raise OperationError(Reason.REBUILD_INCOMPLETE, f"{left} rows would still differ; nothing was changed")
            for part, then in zip(parts, after, strict=True):
                self._refuse_loss(part, then)
        outcome.locked = time.monotonic() - clock
        return outcome

    def _lock(self, source: Source) -> float:
        """Lock writers out for at most the limit, and return the time when the lock began."""
        limit = round(self._limit.total_seconds())
        for name, seconds in (("statement_timeout", limit), ("idle_in_transaction_session_timeout", limit + _SPARE)):
            self._connection.execute("select set_config(%s, %s, true)", (name, f"{seconds}s"))
        self._connection.execute("select set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        clock = time.monotonic()
        for table in source.locks:
            if table_exists(self._connection, table):
                mode = "access exclusive" if source.exclusive else "exclusive"
                self._connection.execute(sql.SQL(f"lock table {{}} in {mode} mode").format(sql.Identifier("public", table)))
                clock = min(clock, time.monotonic())
        return clock

    def _refuse_erasures(self, began: datetime) -> None:
        """Refuse if a subject was erased meanwhile: rows that were read before would undo the erasure."""
        row = self._connection.execute(_ERASURES, (began,)).fetchone()
        if row and row[0]:
            raise OperationError(Reason.ERASURE_MEANWHILE, "a subject was erased during the rebuild: repeat it in a minute")

    @staticmethod
    def _refuse_loss(before: Counted, after: Counted) -> None:
        expected = before.live + before.number("missing") - before.number("extra")
        if after.live != expected:
            raise OperationError(Reason.REBUILD_INCOMPLETE, f"{before.part.name} would have {after.live} rows, not {expected}")


_TO_CHANGE: Final = ("missing", "behind", *UNEXPLAINED)
