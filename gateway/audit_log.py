"""
The audit log: every call of the internal listener, with its caller and its status.

Rows are written in batches by a background task, so that no call waits for them. The queue is bounded: if it is full, since
Postgres is unavailable or the day has no partition, new rows are dropped and counted.
"""

from collections import deque
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import prometheus_client
import structlog
from psycopg import AsyncConnection, Connection
from psycopg import Error as DatabaseError
from psycopg.rows import class_row

from gateway.secrets.tokens import Role
from gateway.write_behind import WriteBehind
from outbox.pages import lowest_id
from runtime.database import UNAVAILABLE, Pool, is_missing_day
from runtime.ids import new_id, time_of
from runtime.tracing import new_trace

log = structlog.get_logger()

WRITTEN = prometheus_client.Counter("tallyhook_audit_written_total", "Calls written to the audit log.")
DROPPED = prometheus_client.Counter("tallyhook_audit_dropped_total", "Calls that are missing from the audit log.", ["reason"])

_EVERY: Final = timedelta(milliseconds=500)  # between two writes: calls that come close together share one
_BATCH: Final = 500


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """One call; `path` is the pattern of the route. `role` and `secret_id` are set if the token is known."""

    id: UUID
    method: str
    path: str
    status: int
    trace_id: str
    duration_ms: int
    role: Role | None = None
    secret_id: str | None = None
    reason: str | None = None
    client: str | None = None

    @property
    def at(self) -> datetime:
        """The time of the call."""
        return time_of(self.id)


class AuditLog:
    """Queues calls without waiting and writes them in batches; `close` writes the rest, as far as Postgres allows."""

    def __init__(self, url: str, *, waiting_max: int = 10_000) -> None:
        self._buffer = WriteBehind(url, self._flush, name="audit", every=_EVERY, waiting=lambda: len(self._queue))
        self._waiting_max = waiting_max
        self._queue: deque[Audited] = deque()

    async def open(self) -> None:
        """Start writing, without waiting for Postgres."""
        await self._buffer.open()

    async def close(self) -> None:
        """Write what is left and disconnect."""
        if not await self._buffer.close():
            DROPPED.labels("postgres_unavailable").inc(len(self._queue))

    def offer(self, audited: Audited) -> None:
        """Queue a call without waiting; drop it if the queue is full."""
        if len(self._queue) >= self._waiting_max:
            DROPPED.labels("queue_full").inc()
        else:
            self._queue.append(audited)
            self._buffer.wake()

    async def flush(self) -> None:
        """Write the calls that have been queued so far."""
        await self._buffer.flush()

    async def _flush(self, pool: Pool) -> None:
        """Write the queue. Rows stay in it until they are committed; rows of a day without a partition wait until it has one."""
        left, dayless, missing = len(self._queue), list[Audited](), list[DatabaseError]()
        try:
            while left > 0:
                batch = [self._queue[n] for n in range(min(_BATCH, left))]
                for rows in by_day(batch):
                    if error := await _write(pool, rows):
                        dayless += rows
                        missing.append(error)
                for _ in batch:
                    self._queue.popleft()
                left -= len(batch)
        finally:
            self._queue.extendleft(reversed(dayless))
        if missing:
            raise missing[0]


def by_day(rows: Sequence[Audited]) -> list[list[Audited]]:
    """Group rows by day, since one day may have a partition and another none."""
    return [list(group) for _, group in groupby(sorted(rows, key=_day_of), key=_day_of)]


def _day_of(row: Audited) -> date:
    return row.at.date()


async def _write(pool: Pool, rows: Sequence[Audited]) -> DatabaseError | None:
    """Write rows of one day; returns the error if that day has no partition."""
    try:
        async with pool.connection() as connection, connection.transaction():
            await connection.cursor().executemany(_INSERT, [msgspec.structs.asdict(row) for row in rows])
    except UNAVAILABLE:
        raise
    except Exception as error:
        if isinstance(error, DatabaseError) and is_missing_day(error):
            return error
        if len(rows) > 1:  # find the row that cannot be written; the others can be
            middle = len(rows) // 2
            return await _write(pool, rows[:middle]) or await _write(pool, rows[middle:])
        DROPPED.labels("row_unstorable").inc()
        log.exception("audit_lost", reason="row_unstorable", call=str(rows[0].id))
    else:
        WRITTEN.inc(len(rows))
    return None


# A write is repeated if its commit was not confirmed.
_INSERT: Final = """
insert into audit_log (id, role, secret_id, method, path, status, reason, trace_id, duration_ms, client)
values (%(id)s, %(role)s, %(secret_id)s, %(method)s, %(path)s, %(status)s, %(reason)s, %(trace_id)s, %(duration_ms)s, %(client)s)
on conflict (id) do nothing
"""

_FIND: Final = """
select id, role, secret_id, method, path, status, reason, trace_id, duration_ms, client from audit_log
where id >= %(first)s and id < %(before)s
  and (%(actor)s::text is null or secret_id = %(actor)s or role = %(actor)s)
  and (%(path)s::text is null or starts_with(path, %(path)s))
order by id desc limit %(limit)s
"""


class Search(NamedTuple):
    """A search of calls: `first` <= id < `before`, by a secret or a role, on paths with this prefix."""

    first: UUID
    before: UUID
    limit: int
    actor: str | None = None
    path: str | None = None


async def find(connection: AsyncConnection, search: Search) -> tuple[list[Audited], UUID | None]:
    """A page of the calls, newest first, and the id after which the next page begins, if there is one."""
    filtered = search.actor is not None or search.path is not None
    floor = await lowest_id(connection, "audit_log", search.first, search.before) if filtered else None
    values = {**search._asdict(), "first": floor or search.first, "limit": search.limit + 1}
    async with connection.cursor(row_factory=class_row(Audited)) as cursor:
        found = await (await cursor.execute(_FIND, values)).fetchall()
    return found[: search.limit], found[search.limit - 1].id if len(found) > search.limit else floor


async def note_command(connection: AsyncConnection, command: str, operator: str) -> None:
    """Record a command that an operator ran in a shell, in the transaction of its effects; `operator` is the user account."""
    await connection.execute(_INSERT, _command(command, operator))


def note_command_now(connection: Connection, command: str, operator: str) -> None:
    """Record a command as `note_command` does, on a connection that blocks."""
    connection.execute(_INSERT, _command(command, operator))


def _command(command: str, operator: str) -> dict[str, Any]:
    called = Audited(
        id=new_id(), method="CLI", path=command, status=200, trace_id=new_trace().trace_id, duration_ms=0, client=operator
    )
    return msgspec.structs.asdict(called)
