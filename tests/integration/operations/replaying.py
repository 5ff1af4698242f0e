"""A log of Stripe events, the live tables that a worker made from it, and the command line on the same servers."""

from __future__ import annotations

import asyncio
import os
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from confluent_kafka import Producer
from psycopg.rows import dict_row

from operations.offset_replay import log
from operations.offset_replay.log import OffsetRange
from outbox.offsets import Offsets, Place
from runtime.database import make_pool
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event, to_headers
from schemas.stripe import DATASCHEMA, SOURCE, TYPE_PREFIX, StripeEvent, aggregate_of
from schemas.topics import Topic
from schemas.topology import group_of
from streams.payments.handler import PaymentsHandler
from streams.processor import Processor
from tests.command import Command, tallyhook
from tests.kafka import commit_for, settings_of
from tests.ports import free_port
from tests.simulators import stripe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runtime.kafka import Cluster
    from streams.role import Handler

STRIPE: Final = "webhooks.stripe"
PROJECTED: Final = {
    "payments": "id",
    "refunds": "id",
    "disputes": "id",
    "subscriptions": "id",
    "invoices": "id",
    "history": "aggregate_type, aggregate_id, event_id",
    "reconciliations": "reference",
}
_DECODER: Final = msgspec.json.Decoder(StripeEvent)


def envelope(body: bytes) -> Event:
    """The event as the gateway would have recorded it."""
    stripe_event = _DECODER.decode(body)
    return Event(
        id=new_id(), topic=Topic.WEBHOOKS_STRIPE, aggregate_id=aggregate_of(stripe_event).id,
        source=SOURCE, type=TYPE_PREFIX + stripe_event.type,
        occurred_at=stripe_event.occurred_at,
        dataschema=DATASCHEMA, traceparent=new_trace().traceparent, data=body, livemode=stripe_event.livemode, account="acct_1",
    )  # fmt: skip


def lives(number: int, seed: int) -> list[bytes]:
    """Return the events of that many payments, invoices and subscriptions, five each, out of order; some have refunds."""
    chance, bodies = random.Random(seed), list[bytes]()
    for n in range(number):
        subscription = stripe.Subscription()
        payment = stripe.Payment(metadata={"user_id": f"u-{n}", "reference": f"order-{seed}-{n}"})
        invoice = stripe.Invoice(customer=subscription.customer, subscription=subscription.id)
        at = stripe.START + n
        failed, disputed = payment.refund("refund.failed", 1, at + 4, created=at + 3), payment.disputed("created", at + 4)
        bodies += [payment.created(at), disputed if n % 6 == 0 else payment.succeeded(at + 1)]
        bodies += [failed if n % 6 == 0 else invoice.created(at), invoice.paid(at + 2)]
        bodies.append(subscription.created(at) if n % 3 else payment.refunded(payment.amount // 2, at + 3))
    chance.shuffle(bodies)
    return bodies


class World:
    """One Kafka and one database, with only the processes that a test starts."""

    def __init__(self, kafka: Cluster, database_url: str) -> None:
        self.cluster = kafka
        self.database_url = database_url
        self._backups: list[str] = []
        self._offsets = Offsets(self.cluster)
        self.environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            **settings_of(kafka),
            "STREAMS_WEB_PORT": str(free_port()),
            "STREAMS_SESSION_TIMEOUT": "6s",
        }

    def produce(self, events: Iterable[Event], topic: str = STRIPE) -> None:
        producer = Producer(self.cluster.client | {"linger.ms": 20})
        for event in events:
            headers = [(name, value) for name, value in to_headers(event)]
            producer.produce(self.cluster.named(topic), event.data, event.aggregate_id.encode(), headers=headers)
            producer.poll(0)
        assert producer.flush(30) == 0

    def produce_raw(self, value: bytes, topic: str = STRIPE) -> None:
        producer = Producer(self.cluster.client)
        producer.produce(self.cluster.named(topic), value, b"raw")
        assert producer.flush(30) == 0

    def ends(self, topic: str = STRIPE) -> dict[Place, int]:
        return {place: span.end for place, span in self._offsets.spans([topic]).items()}

    def handle(self, since: dict[Place, int], handler: Handler | None = None, topic: str = STRIPE) -> None:
        """Handle, mark and commit the new events, as a worker does."""
        until = self.ends(topic)
        ranges = {place: OffsetRange(since[place], until[place]) for place in until}
        asyncio.run(self._handle(handler or PaymentsHandler(), ranges))
        self.commit((handler or PaymentsHandler()).consumer, until)

    def read_on(self, handler: Handler | None = None, topic: str = STRIPE) -> None:
        """Read from the group's offsets to the end, as a worker does that starts now."""
        self.handle(self.committed((handler or PaymentsHandler()).consumer, topic), handler, topic)

    def commit(self, role: str, offsets: dict[Place, int]) -> None:
        commit_for(self.cluster, group_of(role), offsets)

    def committed(self, role: str, topic: str = STRIPE) -> dict[Place, int]:
        return dict(self._offsets.group(group_of(role), [topic]).committed)

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def change(self, statement: str, *values: Any) -> int:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(statement, values).rowcount

    def projected(self) -> dict[str, list[dict[str, Any]]]:
        return {table: self.rows(f"select * from {table} order by {key}") for table, key in PROJECTED.items()}

    def back_up(self) -> str:
        """A copy of the database as it is now."""
        name = f"backup_{new_id().hex[-12:]}"
        self._on_server(f"create database {name} template {self._name}")
        self._backups.append(name)
        return name

    def restore(self, backup: str) -> None:
        """Continue with the copy of the database, while Kafka keeps its state."""
        self.use(self.database_url.removesuffix(self._name) + backup)

    def use(self, database_url: str) -> None:
        self.database_url = self.environment["DATABASE_URL"] = database_url

    def drop_backups(self) -> None:
        for name in self._backups:
            self._on_server(f"drop database {name} with (force)")

    @property
    def _name(self) -> str:
        return self.database_url.rpartition("/")[2]

    def _on_server(self, statement: str) -> None:
        with psycopg.connect(self.database_url.removesuffix(self._name) + "postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self, *arguments: str) -> Command:
        return Command(self.environment, *arguments)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """`tallyhook replay offsets …`: exit code, what it printed, and its errors."""
        done = tallyhook(self.environment, "replay", "offsets", *arguments)
        return done.returncode, done.stdout, done.stderr

    def data(self, *arguments: str) -> dict[str, Any]:
        code, out, err = self.run(*arguments, "--json")
        assert out, (code, err)
        return {**msgspec.json.decode(out), "exit": code}

    async def _handle(self, handler: Handler, ranges: dict[Place, OffsetRange]) -> None:
        pool = make_pool(self.database_url, size=4, name="test")
        async with pool:
            processor = Processor(handler, pool, lanes=2, retry_max=timedelta(seconds=1))
            for records in log.read(self.cluster, ranges):
                await processor.process(records)


def at(offsets: dict[Place, int]) -> Sequence[str]:
    """`--from-offset P:N` for each."""
    return [word for place, offset in sorted(offsets.items()) for word in ("--from-offset", f"{place.partition}:{offset}")]
