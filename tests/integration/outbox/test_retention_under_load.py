"""Days full of payloads are dropped while webhooks come in: none is refused, lost or kept waiting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import psycopg
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.webhooks.intake import Intake
from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import translate
from outbox.partitions import Upkeep, maintain, name
from runtime.ids import first_id_of, new_id
from runtime.tracing import new_trace
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

TODAY: Final = datetime.now(UTC).date()
DAY: Final = timedelta(days=1)
OLDEST: Final = TODAY - 2 * DAY  # the template database keeps two days
ROWS: Final = 20_000
SENDERS: Final = 20
BODY: Final = Payment().succeeded()


def fill(connection: psycopg.Connection, day: date) -> None:
    """Fill a day as it is at the end of its retention."""
    first = first_id_of(day).int
    ids = [UUID(int=first + n + (7 << 76) + (2 << 62)) for n in range(ROWS)]
    row = "(id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data)"
    with connection.cursor() as cursor, cursor.copy(f"copy outbox {row} from stdin") as copy:
        for event_id in ids:
            copy.write_row((event_id, "t", "a", "a", "/s", "x", "d", datetime.now(UTC), "", BODY))
    with connection.cursor() as cursor, cursor.copy("copy webhook_deliveries (id, source, outcome, trace_id) from stdin") as copy:
        for event_id in ids:
            copy.write_row((event_id, "stripe", "accepted", ""))


async def test_intake_goes_on_while_full_days_are_dropped(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        fill(connection, OLDEST)
        assert connection.execute("select count(*) from outbox").fetchone() == (ROWS,)
    intake = Intake(database_url)
    await intake.open()
    try:
        await intake.until_ready()
        upkeep = asyncio.create_task(asyncio.to_thread(keep, database_url))
        taken = await asyncio.gather(*(send_until(upkeep.done, intake) for _ in range(SENDERS)))
        done = await upkeep
    finally:
        await intake.close()
    assert name("outbox", OLDEST) in done.detached
    assert name("webhook_deliveries", OLDEST) in done.detached
    assert done.deferred == []
    number = sum(taken)
    assert number >= SENDERS
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from outbox").fetchone() == (number,)
        assert connection.execute("select count(*) from webhook_deliveries").fetchone() == (number,)


def keep(database_url: str) -> Upkeep:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return maintain(connection, datetime.now(UTC) + DAY, 2 * DAY)


async def send_until(done: Callable[[], bool], intake: Intake) -> int:
    """Send one webhook after the other, and return how many were accepted; none of them waits until intake refuses it."""
    number = 0
    while number == 0 or not done():
        arrival = Arrival(new_id(), new_trace().traceparent, "0" * 8, Payment().succeeded(), CIMultiDictProxy(CIMultiDict()))
        recorded = await intake.record(translate(arrival))
        assert recorded.outcome == "accepted"
        number += 1
    return number
