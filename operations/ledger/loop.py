"""
The ledger's sweep: finds webhooks that stay in flight and rows without a counterpart, and follows them until they are settled.

Each sweep checks the deliveries that became older than the grace since the last sweep, and records those that are not settled as
findings. So a sweep costs as much as a minute's events, not as all that are kept. One relay at a time sweeps, and exports the
figures to Prometheus.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from prometheus_client import Gauge
from psycopg import AsyncConnection

from operations.dead_letters.causes import cause_of
from operations.dead_letters.store import open_letters
from operations.ledger.books import kept_from
from operations.ledger.states import OF_FINDINGS, OF_SPAN, SETTLED_BY, TIME_OF, end_of_ids, plan_for_spans, span_values
from outbox.alerts import LEDGER_UNBALANCED, WEBHOOKS_UNSETTLED, count_occurrences
from outbox.clock import read_clock_async
from outbox.locks import Lock
from outbox.settings import RelaySettings
from runtime.failures import Failures
from runtime.ids import time_of
from runtime.service import Service, connected, lead
from schemas.endpoints import place_of

_STEP: Final = timedelta(hours=6)  # the span of the log that one transaction sweeps: the first sweep has to go through days

_KIND: Final = """
case when not logged then 'unlogged' when state = 'missing' then 'missing' when state = 'inFlight' then 'in_flight'
     when parked and state = 'deadLettered' then 'parked' end
"""
_FIND: Final = f"""
insert into ledger_findings (event_id, source, endpoint, kind, since)
select id, source, endpoint, kind, {TIME_OF.format(id="id")}
from (select *, {_KIND} as kind from {OF_SPAN}) k where kind is not null
on conflict do nothing
"""
_FOLLOW: Final = f"""
with now as (select id, {_KIND} as kind from {OF_FINDINGS}),
gone as (delete from ledger_findings f where not exists (select from now where now.id = f.event_id and kind is not null))
update ledger_findings f set kind = now.kind from now where now.id = f.event_id and now.kind <> f.kind
"""
_YOUNG: Final = f"""
select source, coalesce(endpoint, ''), count(*), min(id::text) from {OF_SPAN} where state = 'inFlight' group by 1, 2
"""
_OLD: Final = """
select kind, source, coalesce(endpoint, ''), count(*), count(*) filter (where since < %s), min(since)
from ledger_findings group by 1, 2, 3
"""
_SWEPT_TO: Final = "select swept_to from ledger_sweeps"
_SWEPT: Final = """
insert into ledger_sweeps (swept_to) values (%s)
on conflict (id) do update set swept_to = excluded.swept_to
"""


class Place(NamedTuple):
    """A source and one of its endpoints; the endpoint is empty for the plain path."""

    source: str
    endpoint: str = ""

    @property
    def name(self) -> str:
        return place_of(*self)


class InFlight(NamedTuple):
    """Webhooks of one place that have not had their effects yet; `overdue` of them for longer than the grace."""

    number: int
    overdue: int
    oldest: datetime


class Swept(NamedTuple):
    """The figures of one sweep; a place whose figures are all 0 is left out."""

    in_flight: Mapping[Place, InFlight]
    unbalanced: Mapping[Place, int]


async def sweep(connection: AsyncConnection, grace: timedelta, now: datetime) -> Swept:
    """
    Check the deliveries that became older than the grace, update the earlier findings, and raise alerts.

    The connection is in autocommit mode; the caller makes sure that only one sweep runs at a time.
    """
    edge = now - grace
    await _advance(connection, edge, now)
    kept = await kept_from(connection)
    await connection.execute(_FOLLOW, span_values(kept, end_of_ids(now)))
    swept = await _read_figures(connection, edge, now)
    for place, in_flight in sorted(swept.in_flight.items()):
        if in_flight.overdue:
            await count_occurrences(connection, WEBHOOKS_UNSETTLED, place.name, in_flight.overdue, now)
    for place, number in sorted(swept.unbalanced.items()):
        await count_occurrences(connection, LEDGER_UNBALANCED, place.name, number, now)
    return swept


async def _advance(connection: AsyncConnection, edge: datetime, now: datetime) -> None:
    """
    Record the unsettled deliveries of the time between the last sweep and the edge.

    If the last sweep ended later than now, a clock was wrong: everything is swept again, which changes nothing for settled ones.
    """
    row = await (await connection.execute(_SWEPT_TO)).fetchone()
    kept = await kept_from(connection)
    begin = max(row[0], kept) if row and row[0] <= now else kept
    while begin < edge:
        end = min(begin + _STEP, edge)
        async with connection.transaction():
            await plan_for_spans(connection)
            await connection.execute(_FIND, span_values(begin, end))
            await connection.execute(_SWEPT, (end,))
        begin = end


async def _read_figures(connection: AsyncConnection, edge: datetime, now: datetime) -> Swept:
    in_flight: dict[Place, InFlight] = {}
    unbalanced: Counter[Place] = Counter()
    for kind, source, endpoint, number, overdue, since in await (await connection.execute(_OLD, (edge,))).fetchall():
        if kind == "in_flight":
            in_flight[Place(source, endpoint)] = InFlight(number, overdue, since)
        elif kind in {"missing", "unlogged"}:
            unbalanced[Place(source, endpoint)] += number
    async with connection.transaction():
        await plan_for_spans(connection)
        young = await (await connection.execute(_YOUNG, span_values(edge, end_of_ids(now)))).fetchall()
    for source, endpoint, number, oldest in young:
        place = Place(source, endpoint)
        old = in_flight.get(place, InFlight(0, 0, datetime.max.replace(tzinfo=UTC)))
        in_flight[place] = InFlight(old.number + number, old.overdue, min(old.oldest, time_of(UUID(oldest))))
    return Swept(in_flight, unbalanced)


_LABELS: Final = ["source", "endpoint"]  # the endpoint is empty for the plain path
IN_FLIGHT: Final = Gauge("tallyhook_ledger_in_flight", "Accepted webhooks that have had no effect yet.", _LABELS)
OLDEST: Final = Gauge("tallyhook_ledger_oldest_seconds", "Age of the oldest webhook in flight, in seconds.", _LABELS)
OVERDUE: Final = Gauge("tallyhook_ledger_overdue", "Webhooks in flight that are older than LEDGER_GRACE.", _LABELS)
UNBALANCED: Final = Gauge(
    "tallyhook_ledger_unbalanced", "Deliveries without their event, and events without their delivery.", _LABELS
)
OPEN_LETTERS: Final = Gauge("tallyhook_dead_letters_open", "Open dead letters.", ["consumer", "fault"])

_STATEMENT: Final = timedelta(minutes=5)
_FIRST_AFTER: Final = timedelta(seconds=10)
"""A relay that starts may have a backlog; a sweep of it at the same moment made the relay 10 % slower."""


def sweeping(settings: RelaySettings) -> Service:
    """Return the service; only the relay that leads exports figures, so that their sum over all relays is right."""
    every = settings.ledger_sweep.total_seconds()
    first = min(_FIRST_AFTER, settings.ledger_sweep).total_seconds()
    shown = {Place(source) for source in SETTLED_BY}

    async def sweep_once(connection: AsyncConnection) -> float:
        now = (await read_clock_async(connection)).now
        swept = await sweep(connection, settings.ledger_grace, now)
        shown.update(swept.in_flight, swept.unbalanced)
        _export(swept, shown, now)
        await _export_letters(connection)
        return every

    async def use(connection: AsyncConnection) -> None:
        try:
            await lead(connection, Lock.SWEEP, sweep_once, every=every, lease=settings.lock_lease, first=first)
        finally:
            _clear()

    run_once = connected(settings.database_url, "ledger", use, lease=settings.lock_lease, holds=True, statement=_STATEMENT)
    return Service("ledger", run_once, Failures("ledger", postponed="sweep_postponed", failed="sweep_failed", longest_away=every))


def _export(swept: Swept, shown: Collection[Place], now: datetime) -> None:
    """Export these places: a gauge that was above zero once must return to zero."""
    for place in shown:
        in_flight = swept.in_flight.get(place)
        IN_FLIGHT.labels(*place).set(in_flight.number if in_flight else 0)
        OVERDUE.labels(*place).set(in_flight.overdue if in_flight else 0)
        OLDEST.labels(*place).set(max(0.0, (now - in_flight.oldest).total_seconds()) if in_flight else 0)
        UNBALANCED.labels(*place).set(swept.unbalanced.get(place, 0))


async def _export_letters(connection: AsyncConnection) -> None:
    found = await open_letters(connection)
    OPEN_LETTERS.clear()
    for consumer, reason, number in found:
        OPEN_LETTERS.labels(consumer, cause_of(reason).fault).inc(number)


def _clear() -> None:
    for gauge in (IN_FLIGHT, OLDEST, OVERDUE, UNBALANCED, OPEN_LETTERS):
        gauge.clear()
