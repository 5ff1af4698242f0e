"""One object of every kind on both sides, ours and Stripe's, and a worker that handles the events of the intake."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from multidict import CIMultiDict, CIMultiDictProxy
from psycopg.rows import dict_row

from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import translate
from operations.reconcile.lists import StripeLists
from operations.reconcile.run import Options, Report, reconcile
from outbox.append import record
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.stripe import DATASCHEMA, SOURCE, TYPE_PREFIX, StripeEvent, aggregate_of
from schemas.topics import Topic
from streams import store as marks
from streams.payments.handler import PaymentsHandler
from tests.simulators import stripe
from tests.simulators.stripe_api import KEY, StripeApi
from tests.simulators.stripe_objects import (
    charge_object,
    dispute_object,
    invoice_object,
    payment_intent_object,
    refund_object,
    subscription_object,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW: Final = datetime.now(UTC)
SINCE: Final = NOW - timedelta(hours=2)
AT: Final = int(NOW.timestamp()) - 3600


async def handled(connection: psycopg.AsyncConnection, *bodies: bytes) -> None:
    """Have the worker handle events, as if they had been delivered."""
    events = []
    for body in bodies:
        event = msgspec.json.decode(body, type=StripeEvent)
        events.append(
            Event(
                id=new_id(), topic=Topic.WEBHOOKS_STRIPE, aggregate_id=aggregate_of(event).id, source=SOURCE,
                type=TYPE_PREFIX + event.type, occurred_at=event.occurred_at,
                dataschema=DATASCHEMA, traceparent=new_trace().traceparent, data=body,
            )
        )  # fmt: skip
    async with connection.transaction():
        await PaymentsHandler().handle(connection, events)


async def arrived(connection: psycopg.AsyncConnection, *bodies: bytes, endpoint: str | None = None) -> None:
    """Record events as the gateway does, by the endpoint or else by the plain path, and have the worker handle them."""
    for body in bodies:
        received = translate(Arrival(new_id(), new_trace().traceparent, "0" * 8, body, CIMultiDictProxy(CIMultiDict())))
        await record(connection, [msgspec.structs.replace(received, endpoint=endpoint)])
        async with connection.transaction():
            await connection.execute("delete from outbox_pending where event_id = %s", (received.event.id,))
            await PaymentsHandler().handle(connection, [received.event])


@contextmanager
def worker(database_url: str) -> Iterator[None]:
    """Play relay and worker until the block ends: handle and mark every event of the intake."""
    ended = threading.Event()

    async def work() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
            while not ended.is_set():
                async with connection.transaction():
                    rows = await (
                        await connection.execute(
                            """with gone as (delete from outbox_pending where event_id in (
                                 select id from outbox where topic = 'webhooks.stripe') returning id, event_id)
                               select o.* from gone join outbox o on o.id = gone.event_id order by gone.id"""
                        )
                    ).fetchall()
                    plain = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
                    async with plain, plain.transaction():
                        await marks.mark(plain, "payments", [row["id"] for row in rows])
                        named = [{name: row[name] for name in Event.__struct_fields__ if name in row} for row in rows]
                        await PaymentsHandler().handle(plain, [Event(**each) for each in named])
                await asyncio.sleep(0.02)  # polling in place of the relay and the worker; no test waits for this pause

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


async def run(connection: psycopg.AsyncConnection, api: StripeApi, key: str = KEY, **changes: Any) -> Report:
    asked = Options(**{"since": SINCE, "until": datetime.now(UTC), "wait": timedelta(seconds=10), **changes})
    report = Report(since=asked.since, until=asked.until, apply=asked.apply)
    lists = StripeLists(key, api.url, rate=100, pauses=(0.0, 0.0), retries=0, account=asked.account)
    return await reconcile(connection, lists, asked, report)


def differences(report: Report) -> list[tuple[str, str, str]]:
    return sorted((each.kind, each.id, each.what) for each in report.differences)


class World:
    """One object of every kind, the same on both sides."""

    def __init__(self) -> None:
        self.payment = stripe.Payment(amount=4990, currency="eur")
        self.bare = stripe.Payment(amount=100, currency="usd")
        self.invoice = stripe.Invoice(amount=2990)
        self.subscription = stripe.Subscription()
        self.refund = refund_object(self.payment, 990, AT + 5)
        self.charge = {**charge_object(self.payment, AT), "amount_refunded": 990}
        self.intent = {
            **payment_intent_object(self.payment, AT), "status": "succeeded", "amount_received": 4990,
            "latest_charge": self.charge,
        }  # fmt: skip
        self.bare_charge = {**charge_object(self.bare, AT), "payment_intent": None}
        self.paid = {**invoice_object(self.invoice, AT), "status": "paid", "amount_paid": 2990}
        self.active = {**subscription_object(self.subscription, AT), "status": "active"}
        self.dispute = dispute_object(self.payment, AT + 6)

    @property
    def theirs(self) -> list[dict[str, Any]]:
        return [self.intent, self.charge, self.bare_charge, self.refund, self.paid, self.active, self.dispute]

    @property
    def ours(self) -> list[bytes]:
        return [
            self.payment.created(AT),
            self.payment.succeeded(AT + 1),
            stripe.event("charge.succeeded", self.bare_charge, at=AT),
            self.payment.refunded(990, AT + 5),
            stripe.event("refund.created", self.refund, at=AT + 5),
            stripe.event("charge.dispute.created", self.dispute, at=AT + 6),
            stripe.event("invoice.paid", self.paid, at=AT + 2),
            stripe.event("customer.subscription.created", self.active, at=AT),
        ]
