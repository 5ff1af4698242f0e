"""Records that a real Kafka has lost are reported once and sent again from the log, each once, until all are handled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from operations.lost_records import store as lost_search
from operations.lost_records.loop import QuietState, Turn, _find_losses, find_losses, run_once
from outbox import lost
from outbox.lost import REPORTED_CHANNEL, Loss
from outbox.offsets import Offsets, Place
from runtime.failures import POSTPONED
from runtime.ids import id_at, new_id
from runtime.kafka import Cluster
from runtime.sessions import DEFAULT_LEASE, connect_async, wait
from schemas.topology import group_of
from tests.kafka import delete_records, make_topic, recreate_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from uuid import UUID

    from outbox.offsets import BrokerState

EVENT = """
insert into outbox (id, topic, aggregate_type, aggregate_id, source, type, dataschema, occurred_at, traceparent, data)
values (%s, %s, 'payment', 'p', '/webhooks/stripe', 't', 'd', now(), '', %s)
"""


class Bench:
    """A topic with events of the log, and the payments worker's group."""

    def __init__(self, kafka: Cluster, connection: psycopg.AsyncConnection) -> None:
        self.kafka = kafka
        self.connection = connection
        self.topic = make_topic(kafka, partitions=1)
        self.place = Place(self.topic, 0)
        self.offsets = Offsets(kafka)

    async def events(self, number: int, *, outcome: str = "accepted", data: bytes = b"{}") -> list[UUID]:
        ids = [new_id() for _ in range(number)]
        for event_id in ids:
            await self.connection.execute(EVENT, (event_id, self.topic, data))
            await self.connection.execute(
                "insert into webhook_deliveries (id, source, outcome, trace_id) values (%s, 'stripe', %s, '')",
                (event_id, outcome),
            )
        return ids

    def produce(self, number: int) -> None:
        producer = Producer(self.kafka.client)
        for _ in range(number):
            producer.produce(self.kafka.named(self.topic), b"", partition=0)
        assert producer.flush(20) == 0

    def commit(self, offset: int) -> None:
        consumer = Consumer(self.kafka.client | {"group.id": self.kafka.named(group_of("payments"))})
        consumer.commit(offsets=[TopicPartition(self.kafka.named(self.topic), 0, offset)], asynchronous=False)
        consumer.close()

    async def look(self, rest: QuietState | None = None) -> list[Loss]:
        return await find_losses(self.connection, self.offsets, {"payments": (self.topic,)}, quiet=rest)

    async def work(self) -> int:
        """Run the search until the whole log is searched."""
        sent = 0
        while await lost_search.searches(self.connection):
            sent += (await run_once(self.connection, 2)).sent
        return sent

    async def mark(self, ids: Sequence[UUID]) -> None:
        for event_id in ids:
            await self.connection.execute("insert into consumed values (%s, 'payments')", (event_id,))
        await run_once(self.connection, 2)

    async def values(self, query: str) -> list[Any]:
        return [row[0] for row in await (await self.connection.execute(query)).fetchall()]

    async def pending(self) -> list[UUID]:
        return await self.values("select event_id from outbox_pending where replay_id is not null order by id")


@pytest.fixture
async def bench(kafka: Cluster, database_url: str) -> AsyncIterator[Bench]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield Bench(kafka, connection)


async def test_a_lost_event_of_a_gateway_whose_clock_was_ahead_is_sent_again(bench: Bench) -> None:
    ahead = id_at(datetime.now(UTC) + timedelta(days=2))
    await bench.connection.execute(EVENT, (ahead, bench.topic, b"{}"))
    [unread] = await bench.events(1)
    bench.produce(2)
    await asyncio.to_thread(bench.commit, 0)
    assert await bench.look() == []
    delete_records(bench.kafka, bench.topic, {0: 2})
    assert await bench.look() == [Loss("payments", bench.place, 0, 2)]
    assert await bench.work() == 2
    assert await bench.pending() == [unread, ahead]


async def test_a_lost_event_without_a_mark_is_sent_again_once(bench: Bench) -> None:
    handled, unread = await bench.events(2), await bench.events(5)
    await bench.events(1, outcome="ignored")
    await bench.events(1, data=b'{"erased":{"sha256":"')
    [on_the_list] = await bench.events(1)
    await bench.connection.execute("insert into outbox_pending (event_id, shard) values (%s, 0)", (on_the_list,))
    await bench.mark(handled)
    bench.produce(7)
    await asyncio.to_thread(bench.commit, 2)
    assert await bench.look() == []

    delete_records(bench.kafka, bench.topic, {0: 7})
    loss = Loss("payments", bench.place, 2, 7)
    assert await bench.look() == [loss]
    [gap] = await lost_search.open_losses(bench.connection)
    assert (gap.from_offset, gap.until_offset, gap.searched) == (2, 7, False)
    assert await bench.work() == 5
    assert await bench.pending() == unread
    # A worker that finds the loss too, a second search, and another relay change nothing.
    assert await lost.report(bench.connection, [loss]) == []
    assert await bench.look() == []
    assert await bench.work() == 0
    [alert] = await bench.values("select convert_from(data, 'UTF8') from outbox where topic = 'alert.events'")
    assert "records_lost" in alert
    assert f"payments worker: {bench.topic}/0 from 2 to 7" in alert

    await bench.mark(unread[:3])
    [gap] = await lost_search.open_losses(bench.connection)
    assert (gap.searched, gap.waiting) == (True, 2)
    await bench.mark(unread[3:])
    assert await lost_search.open_losses(bench.connection) == []
    assert await bench.look() == []


async def test_commits_are_read_only_while_something_moves(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rest, real = QuietState(), Offsets.look
    asked: list[Collection[str]] = []

    def look_and_count(offsets: Offsets, topics: Collection[str], groups: Collection[str]) -> BrokerState:
        asked.extend([groups] if groups else [])
        return real(offsets, topics, groups)

    monkeypatch.setattr(Offsets, "look", look_and_count)
    bench.produce(2)
    await bench.look(rest)
    await bench.look(rest)
    assert len(asked) == 2  # not all is handled
    await asyncio.to_thread(bench.commit, 2)
    for _ in range(3):
        await bench.look(rest)
    assert len(asked) == 3
    bench.produce(3)
    await bench.look(rest)
    assert len(asked) == 4
    await asyncio.to_thread(bench.commit, 4)
    await bench.look(rest)
    delete_records(bench.kafka, bench.topic, {0: 5})
    assert await bench.look(rest) == [Loss("payments", bench.place, 4, 5)]


async def test_a_report_ends_the_wait_of_the_relay_that_leads(bench: Bench, database_url: str) -> None:
    woken = asyncio.Event()
    async with await connect_async(database_url, name="test", holds=True) as leader:
        leader.add_notify_handler(lambda _: woken.set())
        await leader.execute(f"listen {REPORTED_CHANNEL}".encode())
        waiting = asyncio.create_task(wait(leader, 3600, DEFAULT_LEASE, woken))
        await lost.report(bench.connection, [Loss("payments", bench.place, 0, 1)])
        async with asyncio.timeout(60):
            await waiting


async def test_a_further_loss_is_reported_and_only_records_sent_before_it_are_sent_once_more(bench: Bench) -> None:
    unread = await bench.events(3)
    bench.produce(3)
    delete_records(bench.kafka, bench.topic, {0: 1})
    assert await bench.look() == [Loss("payments", bench.place, 0, 1)]
    assert await bench.work() == 3
    bench.produce(3)  # the relay's result: a lag of 3
    delete_records(bench.kafka, bench.topic, {0: 3})
    assert await bench.look() == [Loss("payments", bench.place, 0, 3)]
    assert await bench.work() == 0
    await bench.connection.execute("delete from outbox_pending")
    delete_records(bench.kafka, bench.topic, {0: 6})
    assert await bench.look() == [Loss("payments", bench.place, 0, 6)]
    assert await bench.work() == 3
    assert await bench.pending() == unread


async def test_a_loss_that_is_reported_while_a_piece_is_searched_is_searched_from_the_beginning(bench: Bench) -> None:
    unread = await bench.events(4)
    bench.produce(4)
    delete_records(bench.kafka, bench.topic, {0: 4})
    await bench.look()
    assert (await run_once(bench.connection, 2)).sent == 2
    [search] = await lost_search.searches(bench.connection)
    assert search.cursor is not None
    again = Loss("payments", bench.place, 0, 6, offsets_reused=True)
    assert await lost.report(bench.connection, [again]) == [again]
    await bench.connection.execute("delete from outbox_pending")
    await lost_search.search(bench.connection, search, 1)
    assert await bench.values("select cursor from lost_ranges") == [None]
    await lost_search.store_ends(bench.connection, {bench.place: 4})
    await bench.work()
    assert sorted(await bench.pending()) == unread


async def test_nothing_is_sent_again_before_the_ends_of_the_partitions_are_known(bench: Bench) -> None:
    """One of the lost partitions is no longer a part of its topic."""
    unread = await bench.events(3)
    bench.produce(3)
    delete_records(bench.kafka, bench.topic, {0: 3})
    losses = [Loss("payments", bench.place, 0, 3), Loss("payments", Place(bench.topic, 7), 0, 1)]
    assert await lost.report(bench.connection, losses) == losses
    assert await run_once(bench.connection, 10) == Turn(0, 2)
    await bench.look()
    assert (await run_once(bench.connection, 10)).sent == 3
    assert await bench.pending() == unread
    ends = await bench.values("select resent_from from lost_ranges order by partition")
    assert ends == [3, 0]


async def test_a_check_that_kafka_does_not_answer_is_counted(bench: Bench) -> None:
    postponed = POSTPONED.labels("recovery", "kafka_unavailable")
    before = postponed._value.get()
    away = Offsets(Cluster("127.0.0.1:1"), timedelta(milliseconds=100))
    await _find_losses(bench.connection, away, DEFAULT_LEASE, QuietState())
    assert postponed._value.get() == before + 1


async def test_a_recreated_topic_has_lost_what_was_not_read_however_much_it_has_again(bench: Bench) -> None:
    handled, unread = await bench.events(2), await bench.events(2)
    await bench.mark(handled)
    bench.produce(4)
    await asyncio.to_thread(bench.commit, 2)
    assert await bench.look() == []
    await asyncio.to_thread(recreate_topic, bench.kafka, bench.topic, 1)
    bench.produce(9)
    assert await bench.look() == [Loss("payments", bench.place, 0, 4, offsets_reused=True)]
    assert await bench.work() == 2
    assert await bench.pending() == unread
    assert await bench.look() == []


async def test_a_record_that_went_back_from_the_dead_letters_is_known_by_the_event_that_it_holds(bench: Bench) -> None:
    events = await bench.events(2)
    copies = [new_id(), new_id()]
    for copy, event in zip(copies, events, strict=True):
        await bench.connection.execute(EVENT, (copy, bench.topic, b"{}"))
        await bench.connection.execute(
            "update outbox set type = 'dead-letter.resent', causation_id = %s where id = %s", (event, copy)
        )
    await bench.mark(events[:1])
    bench.produce(2)
    delete_records(bench.kafka, bench.topic, {0: 2})
    await bench.look()
    await bench.work()
    assert await bench.pending() == [events[1], copies[1]]
    await bench.mark(events[1:])
    assert await lost_search.open_losses(bench.connection) == []
