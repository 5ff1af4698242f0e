"""A dead letter is sent again, once and unchanged; its worker handles it, and all others skip it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from gateway.paging import cursor_of
from operations.dead_letters import listing
from operations.dead_letters import store as dead_letters
from operations.dead_letters.query import DeadLettersQuery
from operations.errors import OperationError, Reason
from operations.ledger import books, states
from outbox import tasks
from outbox.append import append
from runtime.database import make_pool
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.leads import DeliverLead
from schemas.registry import decode
from streams.errors import Poison
from streams.processor import Processor
from streams.records import Record
from tests.integration.outbox.test_relay import running_relay
from tests.kafka import make_topic
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from runtime.database import Pool
    from runtime.kafka import Cluster


class Notes:
    """A worker whose effect is a row in a table; while it is broken it can handle no event."""

    def __init__(self, consumer: str = "notes") -> None:
        self.consumer = consumer
        self.broken = False

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        for event in events:
            if self.broken:
                raise Poison("rule_broken", "not today", event.id)
            await connection.execute("insert into notes values (%s, %s)", (self.consumer, event.data.decode()))


class Desk:
    """A topic with its worker, and the tables behind them."""

    def __init__(self, connection: AsyncConnection, pool: Pool, kafka: Cluster, topic: str, url: str) -> None:
        self.connection = connection
        self.kafka = kafka
        self.topic = topic
        self.url = url
        self._pool = pool

    async def write(self, line: str, key: str = "k") -> UUID:
        event = Event(
            id=new_id(), topic=self.topic, aggregate_type="note", aggregate_id=key, source="/test", type="note.taken",
            dataschema="urn:test:note:1", occurred_at=datetime.now(UTC), traceparent=new_trace().traceparent, data=line.encode(),
        )  # fmt: skip
        async with self.connection.transaction():
            await append(self.connection, [event])
        return event.id

    async def relay(self) -> list[Record]:
        """Run a relay until no row is pending; return every record of the topic."""
        return await asyncio.to_thread(self._relay)

    async def work(self, handler: Notes, records: Sequence[Record]) -> None:
        await Processor(handler, self._pool, lanes=1, retry_max=timedelta(milliseconds=50)).process(records)

    async def letters(self, *, limit: int = 50, oldest_first: bool = False, **filters: Any) -> list[dead_letters.DeadLetter]:
        return await listing.find(self.connection, DeadLettersQuery(**filters), limit, oldest_first=oldest_first)

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        async with self.connection.cursor(row_factory=dict_row) as cursor:
            return await (await cursor.execute(query, values)).fetchall()

    async def lines(self) -> list[tuple[str, str]]:
        return [(row["consumer"], row["line"]) for row in await self.rows("select * from notes order by 1, 2")]

    def _relay(self) -> list[Record]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            # Other topics do not exist here: rows for them stay pending.
            connection.execute(
                "delete from outbox_pending p using outbox o where o.id = p.event_id and o.topic <> %s", (self.topic,)
            )
            with running_relay(self.url, self.kafka):
                wait_until(lambda: connection.execute("select count(*) from outbox_pending").fetchone() == (0,))
        return stored(self.kafka, self.topic)


def stored(kafka: Cluster, topic: str) -> list[Record]:
    """Return every record of the topic unchanged, in the order of offsets; it has one partition."""
    consumer = Consumer(kafka.client | {"group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(kafka.named(topic), 0, 0)])
        found = []
        while (message := consumer.poll(20)) is not None and message.error() is None:
            headers = list(message.headers() or ())
            found.append(Record(topic, 0, message.offset(), message.key(), message.value(), headers))
        return found
    finally:
        consumer.close()


@pytest.fixture
async def desk(database_url: str, kafka: Cluster) -> AsyncIterator[Desk]:
    pool = make_pool(database_url, size=4, name="test")
    await pool.open()
    topic = make_topic(kafka, partitions=1)
    async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("create table notes (consumer text, line text)")
        yield Desk(connection, pool, kafka, topic, database_url)
    await pool.close()


async def test_an_event_goes_out_again_as_it_was_and_only_its_worker_handles_it(desk: Desk) -> None:
    event_id, fine, sick = await desk.write("once"), Notes("other"), Notes()
    records = await desk.relay()
    sick.broken = True
    for worker in (fine, sick):
        await desk.work(worker, records)
    [letter] = await desk.letters()
    assert (letter.kind, letter.status, letter.reason, letter.event_id) == ("record", "open", "rule_broken", event_id)

    assert (await listing.retry(desk.connection, letter.id, "operator")).sent_as == "event"
    assert await desk.rows("select consumer from consumed") == [{"consumer": "other"}]
    first, again = await desk.relay()
    assert (again.key, again.value) == (first.key, first.value)
    assert again.headers == [*first.headers, ("ce_replayid", str(letter.id).encode())]
    # The published promise about that id: `GET /v1/admin/dead-letters/{id}` finds the dead letter by it.
    sent_by = await listing.read(desk.connection, UUID(dict(again.headers)["ce_replayid"].decode()))
    assert sent_by is not None
    assert (sent_by[0].id, sent_by[0].status, sent_by[0].event_id) == (letter.id, "retried", event_id)

    sick.broken = False
    for worker in (fine, sick):
        await desk.work(worker, [again, first])
    assert await desk.lines() == [("notes", "once"), ("other", "once")]
    [settled] = await desk.letters()
    assert (settled.status, settled.settled_by, settled.settled_at is not None) == ("retried", "operator", True)


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (None, None, []),
        (b"\xff\x00", b"\x00\xfe", [("ce_id", b"\xff\x00"), ("empty", b""), ("none", None)]),
        (b"k", b"{}", [("ce_specversion", b"1.0")]),
    ],
    ids=["nothing", "any bytes", "incomplete"],
)
async def test_a_record_that_is_no_event_goes_back_byte_for_byte(
    desk: Desk, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    await desk.work(Notes(), [Record(desk.topic, 0, 0, key, value, headers)])
    [letter] = await desk.letters()
    assert (await listing.retry(desk.connection, letter.id, "operator")).sent_as == "record"
    [record] = await desk.relay()
    assert (record.key, record.value, record.headers) == (key, value, headers)

    await desk.work(Notes(), [record._replace(offset=1)])
    latest, earlier = await desk.letters()
    assert (latest.status, latest.earlier_id, earlier.status) == ("open", letter.id, "retried")


async def test_an_event_that_the_log_does_not_hold_goes_back_as_the_record_that_it_was(desk: Desk) -> None:
    await desk.write("foreign")
    [record] = await desk.relay()
    await desk.connection.execute("delete from outbox")
    handler = Notes()
    handler.broken = True
    await desk.work(handler, [record])
    [letter] = await desk.letters()
    assert (await listing.retry(desk.connection, letter.id, "operator")).sent_as == "record"
    handler.broken = False
    _, again = await desk.relay()
    assert again._replace(offset=0) == record
    assert await desk.rows("select causation_id from outbox where type = 'dead-letter.resent'") == [
        {"causation_id": letter.event_id}
    ]
    await desk.work(handler, [again])
    assert await desk.lines() == [("notes", "foreign")]


async def test_an_event_that_fails_again_is_a_new_letter_that_names_the_earlier_one(desk: Desk) -> None:
    await desk.write("bad")
    handler = Notes()
    handler.broken = True
    await desk.work(handler, await desk.relay())
    [first] = await desk.letters()
    await listing.retry(desk.connection, first.id, "operator")
    await desk.work(handler, await desk.relay())
    second, _ = await desk.letters()
    assert (second.status, second.earlier_id) == ("open", first.id)
    assert await desk.letters(status="open") == [second]


async def test_a_letter_is_settled_once_and_for_good(desk: Desk) -> None:
    for offset in range(2):
        await desk.work(Notes(), [Record(desk.topic, 0, offset, b"k", b"v", [])])
    retried, discarded = (letter.id for letter in await desk.letters())
    await listing.discard(desk.connection, discarded, "a test record", "operator")
    [kept] = await desk.letters(status="discarded")
    assert (kept.id, kept.discard_reason) == (discarded, "a test record")

    async def try_it() -> str:
        async with await AsyncConnection.connect(desk.url, autocommit=True) as mine:
            try:
                return (await listing.retry(mine, retried, "operator")).sent_as
            except OperationError as error:
                return error.reason

    assert sorted(await asyncio.gather(*(try_it() for _ in range(4)))) == ["dead_letter_settled"] * 3 + ["record"]
    assert len(await desk.relay()) == 1
    for refused in (
        listing.retry(desk.connection, discarded, "operator"),
        listing.discard(desk.connection, retried, "late", "operator"),
        listing.discard(desk.connection, discarded, "twice", "operator"),
    ):
        with pytest.raises(OperationError) as error:
            await refused
        assert error.value.reason == "dead_letter_settled"
    with pytest.raises(OperationError) as error:
        await listing.retry(desk.connection, new_id(), "operator")
    assert error.value.reason == "not_found"


async def test_the_task_of_a_command_is_pending_again_and_then_done(desk: Desk) -> None:
    event_id = await desk.write("a command")
    await tasks.open_task(desk.connection, event_id, "note.take")
    handler = Notes()
    handler.broken = True
    await desk.work(handler, await desk.relay())
    failed = await tasks.read(desk.connection, event_id)
    assert failed is not None
    assert (failed.status, failed.reason) == ("failed", "rule_broken")
    [letter] = await desk.letters()
    await listing.retry(desk.connection, letter.id, "operator")
    pending = await tasks.read(desk.connection, event_id)
    assert pending is not None
    assert (pending.status, pending.reason, pending.settled_at) == ("pending", None, None)


async def test_letters_are_found_by_their_fields(desk: Desk) -> None:
    for offset, reason in enumerate(("handler_failed", "event_malformed", "handler_failed")):
        await set_aside_as(desk, "payments", reason, offset)
    await set_aside_as(desk, "leads", "schema_too_new", 9)
    assert [(each.consumer, each.reason, each.fault) for each in await desk.letters()] == [
        ("leads", "schema_too_new", "ours"),
        ("payments", "handler_failed", "ours"),
        ("payments", "event_malformed", "theirs"),
        ("payments", "handler_failed", "ours"),
    ]
    assert [each.offset for each in await desk.letters(reason="handler_failed")] == [2, 0]
    assert [each.offset for each in await desk.letters(consumer="payments", oldest_first=True, limit=2)] == [0, 1]
    assert [each.reason for each in await desk.letters(fault="theirs")] == ["event_malformed"]
    assert len(await desk.letters(fault="ours")) == 3
    assert await desk.letters(topic="elsewhere") == await desk.letters(status="retried") == []
    everything = await desk.letters()
    assert await desk.letters(cursor=cursor_of(everything[1].id, everything[1].set_aside_at)) == everything[2:]
    assert await desk.letters(since=everything[2].set_aside_at, until=everything[1].set_aside_at) == [everything[2]]
    assert await dead_letters.open_letters(desk.connection) == [
        ("leads", "schema_too_new", 1), ("payments", "event_malformed", 1), ("payments", "handler_failed", 2),
    ]  # fmt: skip


async def set_aside_as(desk: Desk, consumer: str, reason: str, offset: int) -> None:
    handler = Notes(consumer)

    async def fail(_: AsyncConnection, __: Sequence[Event]) -> None:
        raise Poison(reason, "as told")

    handler.handle = fail
    await desk.write("x")
    [record] = (await desk.relay())[-1:]
    await desk.work(handler, [record._replace(offset=offset)])


async def given_up(desk: Desk, status: str = "exhausted") -> UUID:
    lead_id = new_id()
    await desk.connection.execute(
        """insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at,
                              version, attempts, failures)
           values (%s, 'ACME', 'acme', %s, %s, '{"name":"Ada"}', %s, now(), now(), 4, 3, 3)""",
        (lead_id, str(lead_id), status, new_trace().traceparent),
    )
    await desk.connection.execute(
        "insert into lead_attempts values (%s, 3, now(), now(), 422, 'http_422', 'no such city', null)", (lead_id,)
    )
    return lead_id


async def test_leads_that_a_partner_did_not_take_are_in_the_same_list(desk: Desk) -> None:
    await set_aside_as(desk, "payments", "handler_failed", 0)
    exhausted, rejected = await given_up(desk), await given_up(desk, "rejected")
    assert [(each.kind, each.reason, each.fault) for each in await desk.letters()] == [
        ("lead", "lead_delivery_rejected", "theirs"),
        ("lead", "lead_delivery_exhausted", "theirs"),
        ("record", "handler_failed", "ours"),
    ]
    [lead] = await desk.letters(reason="lead_delivery_exhausted")
    assert (lead.id, lead.lead) == (exhausted, f"/v1/admin/leads/{exhausted}")
    assert lead.detail == "partner acme, 3 attempts, the last one http_422: no such city"
    found = await listing.read(desk.connection, rejected)
    assert found is not None
    assert listing.record_of(found[1])["excerpt"] == '{"name":"Ada"}'
    assert [each.kind for each in await desk.letters(fault="ours")] == ["record"]
    assert {each.id for each in await desk.letters(consumer="leads", status="open")} == {exhausted, rejected}


async def test_a_lead_gets_a_new_round_of_attempts_or_is_given_up(desk: Desk) -> None:
    retried, discarded = await given_up(desk), await given_up(desk)
    sent = await listing.retry(desk.connection, retried, "operator")
    [row] = await desk.rows("select id, dataschema, data from outbox where topic = 'lead.commands'")
    command = decode(row["dataschema"], row["data"])
    assert isinstance(command, DeliverLead)
    assert (sent.sent_as, sent.task_id, command.lead_id, command.afresh) == ("lead", row["id"], retried, True)

    await listing.discard(desk.connection, discarded, "the partner has left", "operator")
    [kept] = await desk.letters(status="discarded")
    assert (kept.id, kept.discard_reason, kept.settled_by) == (discarded, "the partner has left", "operator")
    with pytest.raises(OperationError):
        await listing.retry(desk.connection, discarded, "operator")


async def test_a_lead_whose_retry_waits_for_its_worker_is_neither_retried_nor_discarded(desk: Desk) -> None:
    lead = await given_up(desk)
    sent = await listing.retry(desk.connection, lead, "operator")
    assert sent.task_id
    with pytest.raises(OperationError, match="retried already") as refusal:
        await listing.retry(desk.connection, lead, "other")
    assert refusal.value.reason is Reason.DEAD_LETTER_SETTLED
    with pytest.raises(OperationError, match="retried already"):
        await listing.discard(desk.connection, lead, "no use", "other")
    assert len(await desk.rows("select id from outbox where topic = 'lead.commands'")) == 1
    await tasks.fail(desk.connection, sent.task_id, "lead_exhausted")
    await listing.discard(desk.connection, lead, "no use", "other")


async def test_a_lead_whose_retry_was_handled_is_open_again_even_if_its_task_was_not_settled(desk: Desk) -> None:
    """A lead that is given up since nothing can be written about it settles no task."""
    lead = await given_up(desk)
    sent = await listing.retry(desk.connection, lead, "operator")
    await desk.connection.execute("insert into consumed (event_id, consumer) values (%s, 'leads')", (sent.task_id,))
    assert (await listing.retry(desk.connection, lead, "other")).task_id != sent.task_id


async def test_the_ledger_follows_a_webhook_that_is_retried(desk: Desk) -> None:
    event_id = await desk.write("a webhook")
    await desk.connection.execute(
        "insert into webhook_deliveries (id, source, outcome, trace_id) values (%s, 'stripe', 'accepted', '')", (event_id,)
    )
    await desk.connection.execute("update outbox set source = '/webhooks/stripe'")
    handler = Notes("payments")
    handler.broken = True
    await desk.work(handler, await desk.relay())
    assert await figures(desk) == (1, 0, 0, 1)
    [letter] = await desk.letters()
    await listing.retry(desk.connection, letter.id, "operator")
    assert await figures(desk) == (1, 0, 1, 0)
    assert await desk.rows("select event_id, kind from ledger_findings") == [{"event_id": event_id, "kind": "in_flight"}]
    handler.broken = False
    await desk.work(handler, await desk.relay())
    assert await figures(desk) == (1, 1, 0, 0)


async def figures(desk: Desk) -> tuple[int, ...]:
    now = datetime.now(UTC)
    found = await books.read(desk.connection, now - timedelta(hours=1), states.end_of_ids(now))
    assert found.balanced
    stripe = found.sources[-1]
    return stripe.received, stripe.processed, stripe.in_flight, stripe.dead_lettered
