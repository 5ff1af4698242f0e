"""Sweeps the ledger again and again, in one relay at a time, and exports the figures to Prometheus."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Gauge
from psycopg import AsyncConnection

from operations.dead_letters.causes import cause_of
from operations.dead_letters.store import open_letters
from operations.ledger.states import SETTLED_BY
from operations.ledger.sweep import Swept, sweep
from outbox.clock import ask_clock
from outbox.settings import RelaySettings
from runtime.database import UNAVAILABLE
from runtime.failures import Failures
from runtime.locks import Lock
from runtime.sessions import connect_async, wait

log = structlog.get_logger()

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


def sweep_for_ever(settings: RelaySettings) -> None:
    """The body of a thread; it never ends."""
    asyncio.run(_run(settings))


async def _run(settings: RelaySettings) -> None:
    failures = Failures("ledger")
    while True:
        try:
            async with await connect_async(
                settings.database_url, name="ledger", lease=settings.lock_lease, holds=True, statement=_STATEMENT
            ) as connection:
                await _keep_sweeping(connection, settings)
        except UNAVAILABLE as error:
            log.warning("sweep_postponed", reason="postgres_unavailable", error=str(error).strip())
        except Exception as error:  # a sweep that fails must not be the last one
            log.exception("sweep_failed", reason="sweep_failed")
            failures.note(error)
        _clear()
        await asyncio.sleep(settings.ledger_sweep.total_seconds())


async def _keep_sweeping(connection: AsyncConnection, settings: RelaySettings) -> None:
    while True:
        row = await (await connection.execute("select pg_try_advisory_lock(%s)", (Lock.SWEEP,))).fetchone()
        if row and row[0]:
            await _sweep_while_alone(connection, settings)
        await wait(connection, settings.ledger_sweep.total_seconds(), settings.lock_lease)


async def _sweep_while_alone(connection: AsyncConnection, settings: RelaySettings) -> None:
    """Until the connection breaks: the lock is its own."""
    await wait(connection, min(_FIRST_AFTER, settings.ledger_sweep).total_seconds(), settings.lock_lease)
    while True:
        now = (await ask_clock(connection)).now
        swept = await sweep(connection, settings.ledger_grace, now)
        _export(swept, now)
        await _export_letters(connection)
        await wait(connection, settings.ledger_sweep.total_seconds(), settings.lock_lease)


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
