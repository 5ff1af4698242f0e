"""One relay at a time sweeps the ledger, another takes over when it dies, and its metrics show the result."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
from prometheus_client import REGISTRY

from operations.ledger import loop as sweeper
from outbox.locks import Lock
from outbox.settings import RelaySettings
from runtime.ids import new_id
from runtime.service import running
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SWEEPERS = "select pid from pg_locks where locktype = 'advisory' and objid = %s and granted"


@asynccontextmanager
async def sweeping(url: str, number: int = 1) -> AsyncIterator[None]:
    settings = RelaySettings.load(
        {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": "nowhere:1", "LEDGER_SWEEP": "20ms", "LEDGER_GRACE": "0s"}
    )
    async with running(*(sweeper.sweeping(settings) for _ in range(number))):
        yield


def gauge(name: str, **labels: str) -> float | None:
    """Return the metric; the plain path of a source has an empty endpoint label."""
    plain = {"endpoint": ""} if "source" in labels else {}
    return REGISTRY.get_sample_value(f"tallyhook_{name}", plain | labels)


def write(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def holder(url: str) -> int | None:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(SWEEPERS, (Lock.SWEEP & 0xFFFFFFFF,)).fetchall()
    assert len(rows) < 2
    return rows[0][0] if rows else None


async def test_the_result_of_a_sweep_is_exposed_until_it_is_settled(database_url: str) -> None:
    event_id, letter_id = new_id(), new_id()
    write(
        database_url,
        f"insert into webhook_deliveries (id, source, outcome, trace_id) values ('{event_id}', 'stripe', 'accepted', '')",
        f"""insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers)
            values ('{letter_id}', 'payments', 'event_malformed', '', 't', 0, 0, '[]')""",
    )

    async def exposes(name: str, value: float, **labels: str) -> None:
        async def look() -> bool | None:
            return gauge(name, **labels) == value or None

        await eventually(look)

    async with sweeping(database_url):
        await exposes("ledger_unbalanced", 1, source="stripe")
        await exposes("dead_letters_open", 1, consumer="payments", fault="theirs")
        write(
            database_url,
            f"""insert into outbox
                  (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data)
                values ('{event_id}', 't', 'payment', 'p', '/webhooks/stripe', 't', 'd', now(), '', '')""",
            "update dead_letters set status = 'discarded', settled_at = now(), discard_reason = 'x'",
        )
        await exposes("ledger_unbalanced", 0, source="stripe")
        await exposes("ledger_in_flight", 1, source="stripe")
        await exposes("ledger_overdue", 1, source="stripe")
        later = new_id()
        write(
            database_url,
            f"""insert into outbox
                  (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data, endpoint)
                values ('{later}', 't', 'payment', 'p', '/webhooks/stripe', 't', 'd', now(), '', '', 'eu');
                insert into webhook_deliveries (id, source, outcome, trace_id, endpoint)
                values ('{later}', 'stripe', 'accepted', '', 'eu')""",
        )
        await exposes("ledger_overdue", 1, source="stripe", endpoint="eu")
        assert gauge("ledger_overdue", source="stripe") == 1
        write(database_url, f"insert into consumed values ('{later}', 'payments')")
        await exposes("ledger_overdue", 0, source="stripe", endpoint="eu")
        write(database_url, f"insert into consumed values ('{event_id}', 'payments')")
        await exposes("ledger_in_flight", 0, source="stripe")
        await exposes("ledger_oldest_seconds", 0, source="stripe")
        assert gauge("dead_letters_open", consumer="payments", fault="theirs") is None
    assert gauge("ledger_in_flight", source="stripe") is None


async def test_another_one_sweeps_when_the_first_has_lost_its_connection(database_url: str) -> None:
    async def look(not_this: int | None = None) -> int | None:
        found = await asyncio.to_thread(holder, database_url)
        return found if found != not_this else None

    async with sweeping(database_url, number=3):
        first = await eventually(look)
        write(database_url, f"select pg_terminate_backend({first})")
        assert await eventually(lambda: look(first)) != first
