"""
The log of rejected deliveries: bounded, and on a path of its own that never slows accepted ones.

What is kept can be verified again after a wrong secret is corrected; past the bound a rejection is only counted, so that
a stranger cannot fill the disk. Every one is in `rejected_quota`, as kept or as refused.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import prometheus_client
import structlog
from psycopg import AsyncConnection
from psycopg import Error as DatabaseError
from psycopg.types.json import Jsonb

from outbox.alerts import SIGNATURE_FAILURES, note
from outbox.behind import Behind
from runtime.database import UNAVAILABLE, Pool
from runtime.ids import time_of

log = structlog.get_logger()

KEPT = prometheus_client.Counter("tallyhook_rejected_kept_total", "Rejected deliveries written down.", ["source"])
REFUSED = prometheus_client.Counter("tallyhook_rejected_refused_total", "Rejected deliveries counted only.", ["source"])

_QUEUE_MAX: Final = 200
_UNPROVEN: Final = ("signature_", "timestamp_")  # reasons that say: whoever sent it did not prove who it is
_EVERY: Final = timedelta(seconds=1)  # between two writes: what comes in a flood shares them


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was refused; `headers` are those worth keeping, free of NUL and of credentials."""

    id: UUID
    source: str
    reason: str
    trace_id: str
    client: str | None
    headers: dict[str, str]
    body: bytes | None

    @property
    def quota(self) -> "Quota":
        return (self.source, time_of(self.id).replace(minute=0, second=0, microsecond=0))


Quota = tuple[str, datetime]  # the source, and the hour


class RejectedLog:
    """At most `kept_per_hour` of each source, bodies included; over all processes, since the database counts."""

    def __init__(self, url: str, *, kept_per_hour: int) -> None:
        self._behind = Behind(url, self._flush, name="rejections", every=_EVERY, waiting=lambda: len(self._queue))
        self._kept_per_hour = kept_per_hour
        self._queue: deque[Rejected] = deque()
        self._refused: Counter[Quota] = Counter()
        self._unsigned: Counter[str] = Counter()
        self._full: set[Quota] = set()

    async def open(self) -> None:
        await self._behind.open()

    async def close(self) -> None:
        """Write what is left as far as Postgres lets it, and disconnect."""
        await self._behind.close()

    def offer(self, rejected: Rejected) -> None:
        """Take it without waiting; past the bounds it is only counted."""
        if rejected.reason.startswith(_UNPROVEN):
            self._unsigned[rejected.source] += 1
        if rejected.quota in self._full or len(self._queue) >= _QUEUE_MAX:
            self._refused[rejected.quota] += 1
            REFUSED.labels(rejected.source).inc()
        else:
            self._queue.append(rejected)
        self._behind.wake()

    async def flush(self) -> None:
        """Write what has been offered so far."""
        await self._behind.flush()

    async def _flush(self, pool: Pool) -> None:
        rows, self._queue = list(self._queue), deque()
        refused, self._refused = self._refused, Counter()
        unsigned, self._unsigned = self._unsigned, Counter()
        if not rows and not refused:
            return
        try:
            async with pool.connection() as connection:
                await self._write(connection, rows, refused, unsigned)
        except UNAVAILABLE:
            self._queue.extendleft(reversed(rows))
            self._refused.update(refused)
            self._unsigned.update(unsigned)
            raise
        except DatabaseError:
            log.exception("rejections_lost", reason="rejection_unstorable", rejections=len(rows))

    async def _write(
        self, connection: AsyncConnection, rows: Sequence[Rejected], refused: Mapping[Quota, int], unsigned: Mapping[str, int]
    ) -> None:
        kept: list[Rejected] = []
        async with connection.transaction():
            for quota in sorted({row.quota for row in rows} | set(refused)):  # one order, so that two gateways do not deadlock
                mine = [row for row in rows if row.quota == quota]
                room = max(0, self._kept_per_hour - await _lock_quota(connection, quota))
                kept += mine[:room]
                await _add(connection, quota, kept=len(mine[:room]), refused=len(mine[room:]) + refused.get(quota, 0))
                if room <= len(mine):
                    self._full.add(quota)
            await _insert(connection, kept)
            for source, number in sorted(unsigned.items()):
                await note(connection, SIGNATURE_FAILURES, source, number)
        for row in rows:
            (KEPT if row in kept else REFUSED).labels(row.source).inc()
        self._full = {quota for quota in self._full if quota[1] > datetime.now(UTC) - timedelta(hours=2)}


_LOCK_QUOTA: Final = """
insert into rejected_quota as q (source, hour, kept) values (%s, %s, 0)
on conflict (source, hour) do update set kept = q.kept returning kept
"""
_ADD: Final = "update rejected_quota set kept = kept + %s, refused = refused + %s where source = %s and hour = %s"
_INSERT: Final = """
insert into webhook_deliveries (id, source, outcome, reason, trace_id, client, headers, body)
values (%s, %s, 'rejected', %s, %s, %s, %s, %s)
"""


async def _lock_quota(connection: AsyncConnection, quota: Quota) -> int:
    """How many are kept already; nobody else keeps one before this transaction ends."""
    cursor = await connection.execute(_LOCK_QUOTA, quota)
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _add(connection: AsyncConnection, quota: Quota, *, kept: int, refused: int) -> None:
    await connection.execute(_ADD, (kept, refused, *quota))


async def _insert(connection: AsyncConnection, rows: Sequence[Rejected]) -> None:
    if rows:
        cursor = connection.cursor()
        await cursor.executemany(
            _INSERT,
            [(r.id, r.source, r.reason, r.trace_id, r.client, Jsonb(r.headers), r.body) for r in rows],
        )
