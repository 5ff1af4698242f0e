"""
The log of rejected deliveries: bounded, and written apart from accepted ones, which it never slows.

Kept deliveries can be verified again after a wrong secret is corrected. If there are more than the bound, the worthiest are kept
(`gateway.webhooks.worth`) and the others only counted. So a stranger can neither fill the disk nor take the room of deliveries
that are worth keeping. `rejected_quota` counts every delivery, as kept or as refused.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
import prometheus_client
import structlog
from psycopg import AsyncConnection, OperationalError

from gateway.webhooks import rejected_store
from gateway.webhooks.worth import Shortlist, Worth
from gateway.write_behind import WriteBehind
from outbox.alerts import SIGNATURE_FAILURES, count_occurrences
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
_EVERY: Final = timedelta(seconds=1)  # between two writes: the deliveries of a flood share them


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was refused; `headers` are the kept ones, without NUL and without credentials."""

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
    """The rejections that are only counted, and those of unproven senders by their place; emptied once they are written."""

    refused: Counter[Quota]
    unproven: Counter[str]


class _Part(NamedTuple):
    """The contents of one transaction: rows of one day, and counts."""

    rows: Sequence[Rejected]
    counts: _Counts

    def split(self) -> list["_Part"]:
        """Return the halves of the rows, and the counts alone; nothing if that is only one part."""
        middle = len(self.rows) // 2
        parts = [_Part(rows, _Counts(Counter(), Counter())) for rows in (self.rows[:middle], self.rows[middle:]) if rows]
        parts += [_Part((), self.counts)] if any(self.counts) else []
        return parts if len(parts) > 1 else []


class _Attempt(msgspec.Struct):
    """A transaction that writes a part: its id once it is being committed, the rows to keep, and the numbers of deleted ones."""

    part: _Part
    transaction_id: str | None = None
    kept: list[Rejected] = []
    displaced: Counter[str] = msgspec.field(default_factory=Counter)

    def count(self) -> None:
        """Count the written rows in the metrics."""
        ids = {row.id for row in self.kept}
        for row in self.part.rows:
            (KEPT if row.id in ids else REFUSED).labels(row.source).inc()
        for source, number in self.displaced.items():
            DISPLACED.labels(source).inc(number)


class RejectedLog:
    """Keeps at most `kept_per_hour` deliveries of each source with their bodies, over all processes: the database counts them."""

    def __init__(self, url: str, *, kept_per_hour: int, why: Why | None = None) -> None:
        """With `why`, the alert about refused signatures explains the latest refusal of its place, a source or its endpoint."""
        self._why = why
        self._buffer = WriteBehind(url, self._flush, name="rejections", every=_EVERY, waiting=self._number)
        self._kept_per_hour = kept_per_hour
        self._waiting: defaultdict[str, Shortlist[Rejected]] = defaultdict(Shortlist)
        self._refused: Counter[Quota] = Counter()
        self._unproven: Counter[str] = Counter()
        self._lost: list[tuple[int, Exception]] = []
        self._uncertain: list[_Attempt] = []  # their commit was not confirmed

    async def open(self) -> None:
        await self._buffer.open()

    async def close(self) -> None:
        """Write the rest as far as Postgres allows, and disconnect."""
        await self._buffer.close()

    def offer(self, rejected: Rejected) -> None:
        """Queue a rejection without waiting. An unsigned one, and the least worthy of too many, are only counted."""
        if rejected.reason.startswith(_UNPROVEN):
            self._unproven[place_of(rejected.source, rejected.endpoint)] += 1
        if rejected.worth is Worth.UNSIGNED:
            self._refuse([rejected])
        else:
            self._refuse(self._waiting[rejected.source].offer(rejected))
        self._buffer.wake()

    async def flush(self) -> None:
        """Write the rejections that have been queued so far."""
        await self._buffer.flush()

    def _number(self) -> int:
        return sum(map(len, self._waiting.values())) + sum(len(each.part.rows) for each in self._uncertain)

    def _refuse(self, rows: Sequence[Rejected]) -> None:
        for row in rows:
            self._refused[row.quota] += 1
            REFUSED.labels(row.source).inc()

    async def _flush(self, pool: Pool) -> None:
        await self._settle(pool)
        days: defaultdict[date, list[Rejected]] = defaultdict(list)
        for waiting in self._waiting.values():
            for row in waiting:
                days[time_of(row.id).date()].append(row)
        self._waiting.clear()
        counts = self._take_counts()
        if counts.refused and not days:
            days[datetime.now(UTC).date()] = []
        try:  # each day apart, since one may have a partition and another none; the first that is written takes the counts
            await self._write_each(pool, [_Part(rows, counts) for rows in days.values()])
            if self._lost and self._refused:  # counts of rows that were lost just now; there may be no later write
                self._put_back(counts)
                counts = self._take_counts()
                await self._write_part(pool, _Part((), counts))
        finally:
            self._put_back(counts)
            lost, self._lost = self._lost, []
            if lost:  # one line, so that strangers cannot fill the disk
                number = sum(each for each, _ in lost)
                log.error("rejections_lost", reason="rejection_unstorable", rejections=number, exc_info=lost[0][1])

    def _take_counts(self) -> _Counts:
        counts = _Counts(self._refused, self._unproven)
        self._refused, self._unproven = Counter(), Counter()
        return counts

    def _put_back(self, counts: _Counts) -> None:
        self._refused.update(counts.refused)
        self._unproven.update(counts.unproven)

    async def _settle(self, pool: Pool) -> None:
        """Find out which uncertain transactions were committed; rows that were not written wait again."""
        while self._uncertain:
            attempt = self._uncertain[0]
            async with pool.connection() as connection:
                committed = await rejected_store.is_committed(connection, attempt.transaction_id or "")
            if committed is None:
                raise OperationalError("a transaction whose connection broke has not ended yet")
            self._uncertain.pop(0)
            if committed:
                attempt.count()
            else:
                self._wait_again(attempt.part.rows)
                self._put_back(attempt.part.counts)

    def _wait_again(self, rows: Sequence[Rejected]) -> None:
        for row in rows:
            self._refuse(self._waiting[row.source].offer(row))

    async def _write_each(self, pool: Pool, parts: Sequence[_Part]) -> None:
        """Write each part, or keep it if a later attempt may succeed; its error is raised once the other parts are written."""
        postponed: list[Exception] = []
        for part in parts:
            try:
                await self._write_part(pool, part)
            except Exception as error:  # noqa: BLE001  # see above
                postponed.append(error)
        if postponed:
            raise postponed[0]

    async def _write_part(self, pool: Pool, part: _Part) -> None:
        """Write a part; if it cannot be written, split it down to the row at fault, so that no other row is lost with it."""
        attempt = _Attempt(part)
        try:
            async with pool.connection() as connection:
                await self._write(connection, attempt)
        except Exception as error:
            if passing_reason(error) is not None:
                self._postpone(attempt)
                raise
            if parts := part.split():
                await self._write_each(pool, parts)
            else:
                self._lose(part, error)
        else:
            attempt.count()
            for each in part.counts:
                each.clear()

    def _postpone(self, attempt: _Attempt) -> None:
        """Keep a part for later; one that may have been written is kept apart with its counts, until that is known."""
        part = attempt.part
        if attempt.transaction_id is None:
            self._wait_again(part.rows)
            return
        attempt.part = _Part(part.rows, _Counts(Counter(part.counts.refused), Counter(part.counts.unproven)))
        self._uncertain.append(attempt)
        for each in part.counts:
            each.clear()

    def _lose(self, part: _Part, error: Exception) -> None:
        """Only count a row that cannot be written; counts that cannot be written are logged."""
        self._lost.append((len(part.rows) or part.counts.refused.total(), error))
        for each in part.counts:
            each.clear()
        self._refuse(part.rows)
        self._buffer.wake()

    async def _write(self, connection: AsyncConnection, attempt: _Attempt) -> None:
        rows, (refused, unproven) = attempt.part
        async with connection.transaction():
            for quota in sorted({row.quota for row in rows} | set(refused)):  # one order, so that two gateways do not deadlock
                mine = [row for row in rows if row.quota == quota]
                kept, gone = await rejected_store.make_room(connection, quota, mine, self._kept_per_hour)
                passed = len(mine) - len(kept) + gone + refused.get(quota, 0)
                await rejected_store.add(connection, quota, kept=len(kept) - gone, refused=passed)
                attempt.kept += kept
                attempt.displaced[quota[0]] += gone
            await rejected_store.insert(connection, attempt.kept)
            for place, number in sorted(unproven.items()):
                await count_occurrences(
                    connection, SIGNATURE_FAILURES, place, number, detail=partial(self._explain, connection, place)
                )
            attempt.transaction_id = await rejected_store.transaction_id(connection)

    async def _explain(self, connection: AsyncConnection, place: str) -> str:
        """Explain the latest refusal; an alert is raised even if there is no explanation."""
        try:
            async with connection.transaction():
                found = await self._why(connection, place) if self._why else ""
        except Exception:
            log.exception("explanation_failed", reason="explanation_failed", source=place)
            return ""
        return f"; {found}" if found else ""
