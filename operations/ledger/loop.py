"""Sweeps the ledger again and again, in one relay at a time, and exports the figures to Prometheus."""

from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Gauge
from psycopg import AsyncConnection

from operations.dead_letters.causes import cause_of
from operations.dead_letters.store import open_letters
from operations.ledger.states import SETTLED_BY
from operations.ledger.sweep import Swept, sweep
from outbox.clock import ask_clock
from outbox.locks import Lock
from outbox.settings import RelaySettings
from runtime.failures import Failures
from runtime.service import Service, connected, lead

IN_FLIGHT: Final = Gauge("tallyhook_ledger_in_flight", "Accepted webhooks that have had no effect yet.", ["source"])
OLDEST: Final = Gauge("tallyhook_ledger_oldest_seconds", "Age of the oldest webhook in flight, in seconds.", ["source"])
OVERDUE: Final = Gauge("tallyhook_ledger_overdue", "Webhooks in flight that are older than LEDGER_GRACE.", ["source"])
UNBALANCED: Final = Gauge(
    "tallyhook_ledger_unbalanced", "Deliveries without their event, and events without their delivery.", ["source"]
)
OPEN_LETTERS: Final = Gauge("tallyhook_dead_letters_open", "Open dead letters.", ["consumer", "fault"])

_STATEMENT: Final = timedelta(minutes=5)
_FIRST_AFTER: Final = timedelta(seconds=10)
"""A relay that starts has a backlog to carry, and the sweep would look at all of it just then: that cost a tenth of its speed."""


def sweeping(settings: RelaySettings) -> Service:
    """Return the service; a relay that does not lead exports no figures, so that their sum over all relays is right."""
    every = settings.ledger_sweep.total_seconds()
    first = min(_FIRST_AFTER, settings.ledger_sweep).total_seconds()

    async def sweep_once(connection: AsyncConnection) -> float:
        now = (await ask_clock(connection)).now
        _export(await sweep(connection, settings.ledger_grace, now), now)
        await _export_letters(connection)
        return every

    async def use(connection: AsyncConnection) -> None:
        try:
            await lead(connection, Lock.SWEEP, sweep_once, every=every, lease=settings.lock_lease, first=first)
        finally:
            _clear()

    run_once = connected(settings.database_url, "ledger", use, lease=settings.lock_lease, holds=True, statement=_STATEMENT)
    return Service("ledger", run_once, Failures("ledger", postponed="sweep_postponed", failed="sweep_failed", longest_away=every))


def _export(swept: Swept, now: datetime) -> None:
    for source in {*SETTLED_BY, *swept.in_flight, *swept.unbalanced}:
        flying = swept.in_flight.get(source)
        IN_FLIGHT.labels(source).set(flying.number if flying else 0)
        OVERDUE.labels(source).set(flying.overdue if flying else 0)
        OLDEST.labels(source).set(max(0.0, (now - flying.oldest).total_seconds()) if flying else 0)
        UNBALANCED.labels(source).set(swept.unbalanced.get(source, 0))


async def _export_letters(connection: AsyncConnection) -> None:
    found = await open_letters(connection)
    OPEN_LETTERS.clear()
    for consumer, reason, number in found:
        OPEN_LETTERS.labels(consumer, cause_of(reason).fault).inc(number)


def _clear() -> None:
    for gauge in (IN_FLIGHT, OLDEST, OVERDUE, UNBALANCED, OPEN_LETTERS):
        gauge.clear()
