"""
The log of rejected deliveries: bounded, and on a path of its own that never slows accepted ones.

What is kept can be verified again after a wrong secret is corrected. Past the bound the worthiest are kept
(`gateway.webhooks.worth`) and the others only counted, so that a stranger can neither fill the disk nor take the room of what is
worth keeping. Every one is in `rejected_quota`, as kept or as refused.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
import prometheus_client
import structlog
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from gateway.webhooks.worth import Candidate, Waiting, Worth, choose
from gateway.write_behind import WriteBehind
from outbox.alerts import SIGNATURE_FAILURES, note
from runtime.database import Pool, passing_reason
from runtime.ids import time_of
from schemas.endpoints import place_of

log = structlog.get_logger()

KEPT = prometheus_client.Counter("tallyhook_rejected_kept_total", "Rejected deliveries that were stored.", ["source"])
REFUSED = prometheus_client.Counter("tallyhook_rejected_refused_total", "Rejected deliveries that were only counted.", ["source"])
DISPLACED = prometheus_client.Counter(
    "tallyhook_rejected_displaced_total", "Stored rejected deliveries that were replaced by worthier ones.", ["source"]
)

_UNPROVEN: Final = ("signature_", "timestamp_")  # reasons that mean an unproven sender
_EVERY: Final = timedelta(seconds=1)  # between two writes: what comes in a flood shares them
_LISTED: Final = timedelta(days=1)  # for which the hour's bound is looked after; a gateway that waited for Postgres comes late


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was refused; `headers` are those worth keeping, free of NUL and of credentials."""

    id: UUID
    source: str
    endpoint: str | None = None
    reason: str
    trace_id: str
    client: str | None
    headers: dict[str, str]
    body: bytes | None
    worth: Worth = Worth.SIGNED

    @property
    def size(self) -> int:
        return len(self.body or b"")

    @property
    def quota(self) -> "Quota":
        return (self.source, time_of(self.id).replace(minute=0, second=0, microsecond=0))


Quota = tuple[str, datetime]  # the source, and the hour
Why = Callable[[AsyncConnection, str], Awaitable[str]]


class _Counts(NamedTuple):
    """The rejections that are only counted, and by their place those of unproven senders; empty once they are written."""

    refused: Counter[Quota]
    unproven: Counter[str]


class _Part(NamedTuple):
    """The contents of one transaction: rows of one day, and counts."""

    rows: Sequence[Rejected]
    counts: _Counts

    def apart(self) -> list["_Part"]:
        """Return the halves of the rows, and the counts by themselves; nothing where it is no more than one of these."""
        middle = len(self.rows) // 2
        parts = [_Part(rows, _Counts(Counter(), Counter())) for rows in (self.rows[:middle], self.rows[middle:]) if rows]
        parts += [_Part((), self.counts)] if any(self.counts) else []
        return parts if len(parts) > 1 else []


class RejectedLog:
    """At most `kept_per_hour` of each source, bodies included; over all processes, since the database counts."""

    def __init__(self, url: str, *, kept_per_hour: int, why: Why | None = None) -> None:
        """With `why`, the alert about refused signatures explains the latest refusal of its place, a source or its endpoint."""
        self._why = why
        self._buffer = WriteBehind(url, self._flush, name="rejections", every=_EVERY, waiting=self._number)
        self._kept_per_hour = kept_per_hour
        self._waiting: defaultdict[str, Waiting[Rejected]] = defaultdict(Waiting)
        self._refused: Counter[Quota] = Counter()
        self._unproven: Counter[str] = Counter()
        self._lost: list[tuple[int, Exception]] = []

    async def open(self) -> None:
        await self._buffer.open()

    async def close(self) -> None:
        """Write the rest as far as Postgres lets it, and disconnect."""
        await self._buffer.close()

    def offer(self, rejected: Rejected) -> None:
        """Take a rejection without waiting. A worthless one, and the least worthy of too many, are only counted."""
        if rejected.reason.startswith(_UNPROVEN):
            self._unproven[place_of(rejected.source, rejected.endpoint)] += 1
        if rejected.worth is Worth.UNSIGNED:
            self._refuse([rejected])
        else:
            self._refuse(self._waiting[rejected.source].offer(rejected))
        self._buffer.wake()

    async def flush(self) -> None:
        """Write what has been offered so far."""
        await self._buffer.flush()

    def _number(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _refuse(self, rows: Sequence[Rejected]) -> None:
        for row in rows:
            self._refused[row.quota] += 1
            REFUSED.labels(row.source).inc()

    async def _flush(self, pool: Pool) -> None:
        days: defaultdict[date, list[Rejected]] = defaultdict(list)
        for waiting in self._waiting.values():
            for row in waiting:
                days[time_of(row.id).date()].append(row)
        self._waiting.clear()
        counts = _Counts(self._refused, self._unproven)
        self._refused, self._unproven = Counter(), Counter()
        if counts.refused and not days:
            days[datetime.now(UTC).date()] = []
        try:  # each day by itself, for one may have no partition while another has; the first that is written takes the counts
            await self._write_each(pool, [_Part(rows, counts) for rows in days.values()])
        finally:
            self._refused.update(counts.refused)
            self._unproven.update(counts.unproven)
            lost, self._lost = self._lost, []
            if lost:  # one line, for strangers must not be able to fill the disk
                number = sum(each for each, _ in lost)
                log.error("rejections_lost", reason="rejection_unstorable", rejections=number, exc_info=lost[0][1])

    async def _write_each(self, pool: Pool, parts: Sequence[_Part]) -> None:
        """Write each part, or keep what may pass later; such an error is raised once the other parts are written."""
        postponed: list[Exception] = []
        for part in parts:
            try:
                await self._write_part(pool, part)
            except Exception as error:  # noqa: BLE001  # see above
                postponed.append(error)
        if postponed:
            raise postponed[0]

    async def _write_part(self, pool: Pool, part: _Part) -> None:
        """Write it; where it cannot be written, close in on the row at fault, so that no other is lost with it."""
        try:
            async with pool.connection() as connection:
                await self._write(connection, part.rows, part.counts.refused, part.counts.unproven)
        except Exception as error:
            if passing_reason(error) is not None:
                for row in part.rows:
                    self._refuse(self._waiting[row.source].offer(row))
                raise
            if parts := part.apart():
                await self._write_each(pool, parts)
            else:
                self._lose(part, error)
        else:
            for each in part.counts:
                each.clear()

    def _lose(self, part: _Part, error: Exception) -> None:
        """Only count a row that cannot be written; of counts that cannot be, the log line tells."""
        self._lost.append((len(part.rows) or part.counts.refused.total(), error))
        for each in part.counts:
            each.clear()
        self._refuse(part.rows)
        self._buffer.wake()

    async def _write(
        self, connection: AsyncConnection, rows: Sequence[Rejected], refused: Mapping[Quota, int], unproven: Mapping[str, int]
    ) -> None:
        taken: list[Rejected] = []
        displaced: Counter[str] = Counter()
        async with connection.transaction():
            for quota in sorted({row.quota for row in rows} | set(refused)):  # one order, so that two gateways do not deadlock
                mine = [row for row in rows if row.quota == quota]
                kept, gone = await _fill(connection, quota, mine, self._kept_per_hour)
                await _add(connection, quota, kept=len(kept) - gone, refused=len(mine) - len(kept) + gone + refused.get(quota, 0))
                taken += kept
                displaced[quota[0]] += gone
            await _insert(connection, taken)
            for place, number in sorted(unproven.items()):
                await note(connection, SIGNATURE_FAILURES, place, number, detail=partial(self._explain, connection, place))
        ids = {row.id for row in taken}
        for row in rows:
            (KEPT if row.id in ids else REFUSED).labels(row.source).inc()
        for source, number in displaced.items():
            DISPLACED.labels(source).inc(number)

    async def _explain(self, connection: AsyncConnection, place: str) -> str:
        """Explain the latest refusal; an alert is raised even if there is no explanation."""
        try:
            async with connection.transaction():
                found = await self._why(connection, place) if self._why else ""
        except Exception:
            log.exception("explanation_failed", reason="explanation_failed", source=place)
            return ""
        return f"; {found}" if found else ""


class _Held(NamedTuple):
    """One that is kept already."""

    id: UUID
    client: str
    worth: int


async def _fill(
    connection: AsyncConnection, quota: Quota, mine: Sequence[Rejected], kept_per_hour: int
) -> tuple[list[Rejected], int]:
    """Choose the rows of this gateway to write, and count the kept ones that are deleted for them."""
    number = await _lock_quota(connection, quota)
    if not mine:
        return [], 0
    held = await _held(connection, quota)
    candidates: list[Candidate] = [*held, *mine]
    # Those of gateways of an older version, which list nothing, stay.
    best = {each.id for each in choose(candidates, max(0, kept_per_hour - (number - len(held))))}
    gone = await _displace(connection, quota, [each.id for each in held if each.id not in best])
    room = max(0, kept_per_hour - (number - gone))
    return [row for row in choose(mine, len(mine)) if row.id in best][:room], gone


_LOCK_QUOTA: Final = """
insert into rejected_quota as q (source, hour, kept) values (%s, %s, 0)
on conflict (source, hour) do update set kept = q.kept returning kept
"""
_ADD: Final = "update rejected_quota set kept = kept + %s, refused = refused + %s where source = %s and hour = %s"
_HELD: Final = "select id, client, worth from rejected_kept where source = %s and hour = %s"
_LIST: Final = "insert into rejected_kept (source, hour, id, client, worth) values (%s, %s, %s, %s, %s)"
_UNLIST: Final = "delete from rejected_kept where source = %s and hour = %s and id = any(%s)"
_FORGET: Final = "delete from rejected_kept where hour < %s"
# It waits for no replay, which locks such rows in an order of its own.
_DISPLACE: Final = """
delete from webhook_deliveries where id in (
  select id from webhook_deliveries
  where id = any(%s) and id >= %s and id <= %s and outcome = 'rejected' and recovered_as is null for update skip locked)
returning id
"""
_INSERT: Final = """
insert into webhook_deliveries (id, source, endpoint, outcome, reason, trace_id, client, headers, body)
values (%s, %s, %s, 'rejected', %s, %s, %s, %s, %s)
"""


async def _lock_quota(connection: AsyncConnection, quota: Quota) -> int:
    """Count the kept ones; no other gateway keeps one before this transaction ends."""
    cursor = await connection.execute(_LOCK_QUOTA, quota)
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _add(connection: AsyncConnection, quota: Quota, *, kept: int, refused: int) -> None:
    await connection.execute(_ADD, (kept, refused, *quota))


async def _held(connection: AsyncConnection, quota: Quota) -> list[_Held]:
    async with connection.cursor(row_factory=class_row(_Held)) as cursor:
        await cursor.execute(_HELD, quota)
        return await cursor.fetchall()


async def _displace(connection: AsyncConnection, quota: Quota, ids: Sequence[UUID]) -> int:
    """Delete kept ones, and return their number. Those that were verified since, or are being verified now, stay."""
    if not ids:
        return 0
    cursor = await connection.execute(_DISPLACE, (list(ids), min(ids), max(ids)))
    gone = [row[0] for row in await cursor.fetchall()]
    await connection.execute(_UNLIST, (*quota, gone))
    return len(gone)


async def _insert(connection: AsyncConnection, rows: Sequence[Rejected]) -> None:
    if rows:
        cursor = connection.cursor()
        values = [(r.id, r.source, r.endpoint, r.reason, r.trace_id, r.client, Jsonb(r.headers), r.body) for r in rows]
        await cursor.executemany(_INSERT, values)
        await cursor.executemany(_LIST, [(*r.quota, r.id, r.client or "", r.worth) for r in rows])
        await cursor.execute(_FORGET, (min(r.quota[1] for r in rows) - _LISTED,))
