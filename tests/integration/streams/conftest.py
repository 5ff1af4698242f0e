"""The payments worker on a real database, the rows that it wrote, and a simulated Stripe API as a real server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import psycopg
import pytest
from psycopg.rows import dict_row

from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas import registry
from schemas.envelope import Event
from schemas.stripe import DATASCHEMA, SOURCE, TYPE_PREFIX, StripeEvent, aggregate_of
from schemas.topics import Topic
from streams.payments.handler import PaymentsHandler
from tests.integration.streams.fetching import World, world_of
from tests.integration.streams.transporting import Bench
from tests.kafka import make_topic
from tests.simulators.stripe_api import StripeApi, stripe_api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from psycopg import AsyncConnection

    from runtime.kafka import Cluster


def envelope(body: bytes) -> Event:
    """The event as the gateway would have recorded it."""
    event = msgspec.json.decode(body, type=StripeEvent)
    return Event(
        id=new_id(),
        topic=Topic.WEBHOOKS_STRIPE,
        source=SOURCE,
        type=TYPE_PREFIX + event.type,
        aggregate_id=aggregate_of(event).id,
        occurred_at=event.occurred_at,
        dataschema=DATASCHEMA,
        traceparent=new_trace().traceparent,
        data=body,
    )


@dataclass(frozen=True)
class Worker:
    """Handles bodies in one transaction a batch, and reads the results."""

    connection: AsyncConnection

    async def handle(self, *bodies: bytes) -> list[Event]:
        events = [envelope(body) for body in bodies]
        await self.handle_events(events)
        return events

    async def handle_events(self, events: Sequence[Event]) -> None:
        async with self.connection.transaction():
            await PaymentsHandler().handle(self.connection, events)

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.cursor(row_factory=dict_row)
        await cursor.execute(query, values)
        return await cursor.fetchall()

    async def outbox(self, prefix: str = "") -> list[dict[str, Any]]:
        """What was appended, in the relay's order, with the data decoded."""
        rows = await self.rows(
            """select o.* from outbox_pending p join outbox o on o.id = p.event_id where starts_with(type, %s) order by p.id""",
            prefix,
        )
        for row in rows:
            registry.decode(row["dataschema"], row["data"])
        return [{**row, "data": orjson.loads(row["data"])} for row in rows]

    async def projected(self) -> dict[str, list[dict[str, Any]]]:
        """Everything that is rebuilt from the log."""
        tables = dict.fromkeys(("payments", "refunds", "disputes", "subscriptions", "invoices"), "id")
        tables["reconciliations"] = "reference"
        kept = {table: await self.rows(f"select * from {table} order by {key}") for table, key in tables.items()}
        return {**kept, "history": await self.rows("select * from history order by aggregate_type, aggregate_id, event_id")}


@pytest.fixture
async def worker(database_url: str) -> AsyncIterator[Worker]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield Worker(connection)


@pytest.fixture
async def other_worker(database_url: str) -> AsyncIterator[Worker]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield Worker(connection)


@pytest.fixture
def api() -> Iterator[StripeApi]:
    with stripe_api() as running:
        yield running


@pytest.fixture
async def world(api: StripeApi, database_url: str) -> AsyncIterator[World]:
    async with world_of(api, database_url) as made:
        yield made


@pytest.fixture
def bench(kafka: Cluster, tmp_path: Path) -> Bench:
    return Bench(kafka, make_topic(kafka, partitions=4), tmp_path)
