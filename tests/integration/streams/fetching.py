"""A worker without Kafka between its two halves, and the events that make it fetch objects from Stripe's API."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from multidict import CIMultiDict, CIMultiDictProxy
from psycopg.rows import dict_row

from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import translate
from outbox.append import record
from runtime.database import make_pool
from runtime.ids import new_id
from runtime.settings import Secret
from runtime.tracing import new_trace
from schemas.envelope import Event
from streams.payments.fetching.api import opened_api
from streams.payments.fetching.fetcher import Fetcher, Limits
from streams.payments.handler import PaymentsHandler
from tests.simulators import stripe
from tests.simulators.stripe_api import KEY, StripeApi
from tests.simulators.stripe_objects import invoice_object
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW: Final = int(time.time()) - 60
LIMITS: Final = Limits(rate=100.0, attempts=3, base=timedelta(milliseconds=10), poll=timedelta(milliseconds=10))


def thin(kind: str, related: dict[str, Any] | None, *, at: int = NOW, **changes: Any) -> bytes:
    event = {
        "id": stripe.random_id("evt"),
        "object": "v2.core.event",
        "type": kind,
        "livemode": False,
        "created": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
        "related_object": related,
    }
    return json.dumps(event | changes).encode()


def invoice_paid(name: str, **changes: Any) -> bytes:
    return thin("v1.invoice.paid", {"id": name, "type": "invoice", "url": f"/v1/invoices/{name}"}, **changes)


@dataclass(frozen=True)
class World:
    """A worker without Kafka between its two halves: the handler gets each event of the log that has not been handled."""

    api: StripeApi
    database_url: str
    connection: psycopg.AsyncConnection
    fetcher: Fetcher

    async def arrive(self, *bodies: bytes, handler: PaymentsHandler | None = None, endpoint: str | None = None) -> list[Event]:
        """Store the events as a gateway with an API key does, by the endpoint or else by the plain path, and handle them."""
        for body in bodies:
            arrival = Arrival(new_id(), new_trace().traceparent, "0" * 8, body, CIMultiDictProxy(CIMultiDict()))
            await record(self.connection, [msgspec.structs.replace(translate(arrival, fetches=True), endpoint=endpoint)])
        return await self.handle(handler)

    async def handle(self, handler: PaymentsHandler | None = None) -> list[Event]:
        rows = await self.rows(
            """with gone as (delete from outbox_pending where event_id in (select id from outbox where topic = 'webhooks.stripe')
                 returning id, event_id)
               select o.* from gone join outbox o on o.id = gone.event_id order by gone.id"""
        )
        names = ("id", "topic", "aggregate_id", "source", "type", "dataschema", "occurred_at", "traceparent", "data")
        events = [Event(**{name: row[name] for name in names}) for row in rows]
        async with self.connection.transaction():
            await (handler or PaymentsHandler(fetches=True, decides=True)).handle(self.connection, events)
        return events

    async def fetch(self) -> int:
        """Fetch from the API in one round, and handle the resulting events."""
        asked = await self.fetcher.run_once()
        await self.handle()
        return asked

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.cursor(row_factory=dict_row)
        return await (await cursor.execute(query, values)).fetchall()

    async def fetches(self) -> list[tuple[str | None, str | None, int]]:
        rows = await self.rows("select outcome, reason, attempts from stripe_fetches order by event_id, kind, object_id")
        return [(row["outcome"], row["reason"], row["attempts"]) for row in rows]

    async def make_due(self) -> None:
        await self.connection.execute("update stripe_fetches set next_attempt_at = now() where outcome is null")
        self.fetcher._held_until = 0.0


@asynccontextmanager
async def world_of(
    api: StripeApi, database_url: str, limits: Limits = LIMITS, *, key: str = KEY, base: str = "", patience: float = LIMIT
) -> AsyncIterator[World]:
    pool = make_pool(database_url, size=3, name="test")
    async with (
        pool,
        opened_api(base or api.url, Secret(key), timedelta(seconds=patience)) as client,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
    ):
        yield World(api, database_url, connection, Fetcher(pool, client, limits, consumer="payments"))


def an_invoice(api: StripeApi, **changes: Any) -> stripe.Invoice:
    invoice = stripe.Invoice(payment=None, amount=2990)
    api.keep({**invoice_object(invoice, NOW), "status": "paid", "amount_paid": 2990, **changes})
    return invoice
