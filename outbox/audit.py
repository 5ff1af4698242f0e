"""
The audit log: who called what on the internal listener, and what was said.

Written beside the calls, in small batches, so that it costs none of them anything. What waits is bounded: with Postgres away for
long the newest rows are dropped, and counted.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec
import prometheus_client
import structlog
from psycopg import AsyncConnection
from psycopg import Error as DatabaseError
from psycopg.rows import class_row

from runtime.database import UNAVAILABLE, make_pool
from runtime.ids import new_id, time_of
from runtime.tracing import new_trace

log = structlog.get_logger()

WRITTEN = prometheus_client.Counter("tallyhook_audit_written_total", "Calls written to the audit log.")
DROPPED = prometheus_client.Counter("tallyhook_audit_dropped_total", "Calls that the audit log could not take.", ["reason"])

_EVERY: Final = 0.5  # seconds between two writes: calls that come close together share one
_BATCH: Final = 500


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """One call; `path` is the route's template, and the path itself where there is no route. Role and secret only if admitted."""

    id: UUID
    method: str
    path: str
    status: int
    trace_id: str
    duration_ms: int
    role: Literal["service", "admin"] | None = None
    secret_id: str | None = None
    reason: str | None = None
    client: str | None = None

    @property
    def at(self) -> datetime:
        """When the call came."""
        return time_of(self.id)


class AuditLog:
    """Takes calls without waiting and writes them; at the end what waits is written as far as Postgres lets it."""

    def __init__(self, url: str, *, waiting_max: int = 10_000) -> None:
        self._pool = make_pool(url, size=1, name="audit")
        self._waiting_max = waiting_max
        self._queue: deque[Audited] = deque()
        self._writing = asyncio.Lock()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start writing, without waiting for Postgres."""
        await self._pool.open(wait=False)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Write what is left and disconnect."""
        # Asked, not cancelled: a cancellation that meets the pool's own time-out is lost (Python 3.11).
        self._closing.set()
        if self._task:
            await self._task
        try:
            await self.flush()
        except UNAVAILABLE as error:
            DROPPED.labels("postgres_unavailable").inc(len(self._queue))
            log.warning("audit_lost", reason="postgres_unavailable", calls=len(self._queue), error=str(error).strip())
        await self._pool.close()

    def offer(self, audited: Audited) -> None:
        """Take it without waiting; dropped where too many wait already."""
        if len(self._queue) >= self._waiting_max:
            DROPPED.labels("queue_full").inc()
        else:
            self._queue.append(audited)

    async def flush(self) -> None:
        """Write what has been offered so far; rows stay in the queue until they are committed."""
        async with self._writing:
            left = len(self._queue)
            while left > 0:
                rows = [self._queue[n] for n in range(min(_BATCH, left))]
                await self._write(rows)
                for _ in rows:
                    self._queue.popleft()
                left -= len(rows)

    async def _run(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _EVERY)
            try:
                await self.flush()
            except UNAVAILABLE as error:
                log.warning("audit_postponed", reason="postgres_unavailable", calls=len(self._queue), error=str(error).strip())

    async def _write(self, rows: Sequence[Audited]) -> None:
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.cursor().executemany(_INSERT, [msgspec.structs.asdict(row) for row in rows])
        except UNAVAILABLE:
            raise
        except DatabaseError:
            DROPPED.labels("row_unstorable").inc(len(rows))
            log.exception("audit_lost", reason="row_unstorable", calls=len(rows))
        else:
            WRITTEN.inc(len(rows))


# A write whose commit was not heard of is repeated.
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
    """Which calls: `first` <= id < `before`, by a secret or a role, on paths that begin so."""

    first: UUID
    before: UUID
    limit: int
    actor: str | None = None
    path: str | None = None


async def find(connection: AsyncConnection, search: Search) -> list[Audited]:
    """The calls, newest first."""
    async with connection.cursor(row_factory=class_row(Audited)) as cursor:
        return await (await cursor.execute(_FIND, search._asdict())).fetchall()


async def note_command(connection: AsyncConnection, command: str, operator: str) -> None:
    """Write down what an operator did at a shell, in the transaction that does it; no token tells who it is."""
    called = Audited(
        id=new_id(), method="CLI", path=command, status=200, trace_id=new_trace().trace_id, duration_ms=0, client=operator
    )
    await connection.execute(_INSERT, msgspec.structs.asdict(called))
