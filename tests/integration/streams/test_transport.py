"""Batches from a real Kafka: in order, committed when they are done and not before, across rebalances."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from aiokafka import errors
from aiokafka.consumer.group_coordinator import GroupCoordinator
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from outbox.lost import Loss
from outbox.offsets import Offsets, Place
from streams import transport
from streams.agents import Most, Work
from streams.transport import App
from tests.kafka import delete_records, make_anew, make_topic
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from runtime.kafka import Cluster
    from streams.records import Record

BATCH: Final = 50
MOST: Final = Most(BATCH, 4_194_304)
FETCH: Final = 1_048_576
"""Bytes of a partition that one fetch brings, as Faust sets it."""
TO_AND_FRO: Final = 20
"""How often partitions change hands: each worker that comes or goes is once."""


@dataclass
class Handler:
    """Keeps what it was given; while `gate` is shut, a batch is not done."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[list[Record]] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    assignments: int = 0
    losses: list[Loss] = field(default_factory=list)

    async def handle(self, records: Sequence[Record]) -> None:
        self.begun.append([*records])
        await self.gate.wait()
        self.done += records

    async def lost(self, losses: Sequence[Loss]) -> None:
        self.losses += losses

    def reassigned(self) -> None:
        self.assignments += 1


class Once(Handler):
    """Shuts its gate behind each batch."""

    async def handle(self, records: Sequence[Record]) -> None:
        await super().handle(records)
        self.gate.clear()


class Slow(Handler):
    """Takes a moment for every batch."""

    async def handle(self, records: Sequence[Record]) -> None:
        await asyncio.sleep(0.02)
        self.done += records


def stuck() -> None:
    raise AssertionError("a rebalance does not end")


@dataclass
class Bench:
    """A topic of its own, and workers of one group that read it."""

    kafka: Cluster
    topic: str
    folder: Path
    group: str = field(default_factory=lambda: f"g-{uuid4().hex[:8]}")

    @asynccontextmanager
    async def worker(self, handler: Handler, *others: str, most: Most = MOST, commit_interval: float = 0.2) -> AsyncIterator[App]:
        """A worker of the topic and of others."""
        app = App(
            self.group,
            [self.topic, *others],
            Work("test", most, handler.handle, handler.lost, handler.reassigned, stuck),
            kafka=self.kafka,
            store="memory://",
            datadir=str(self.folder / uuid4().hex),
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            broker_commit_interval=commit_interval,
            broker_heartbeat_interval=0.5,
            consumer_auto_offset_reset="earliest",
            stream_wait_empty=False,
            web_enabled=False,
        )
        await app.start()
        try:
            yield app
        finally:
            await app.stop()

    def produce(self, numbers: dict[int, int], *, topic: str = "", size: int = 1, compression: str = "none") -> None:
        producer = Producer(self.kafka.client | {"compression.type": compression})
        for partition, number in numbers.items():
            for n in range(number):
                producer.produce(self.kafka.named(topic or self.topic), f"{n}".ljust(size), partition=partition)
        assert producer.flush(20) == 0

    @asynccontextmanager
    async def trickling(self) -> AsyncIterator[Counter[int]]:
        """A few records again and again while the block lasts; how many each partition has got."""
        produced: Counter[int] = Counter()
        over = threading.Event()

        def run() -> None:
            producer = Producer(self.kafka.client | {"linger.ms": 0})
            while not over.wait(0.02):
                for partition in range(4):
                    producer.produce(self.kafka.named(self.topic), f"{produced[partition]}", partition=partition)
                    produced[partition] += 1
                assert producer.flush(20) == 0

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield produced
        finally:
            over.set()
            await asyncio.to_thread(thread.join)

    def move(self, offsets: dict[int, int]) -> None:
        """Commit these offsets for the group, which has no members."""
        places = [TopicPartition(self.kafka.named(self.topic), *pair) for pair in offsets.items()]
        admin = AdminClient(self.kafka.client)
        group = self.kafka.named(self.group)
        moved = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
        moved[group].result(20)

    async def committed(self, *others: str) -> dict[Place, int]:
        found = await asyncio.to_thread(Offsets(self.kafka).group, self.group, [self.topic, *others])
        return dict(found.committed)

    async def until_committed(self, numbers: dict[int, int]) -> None:
        wanted = {Place(self.topic, partition): number for partition, number in numbers.items()}

        async def look() -> bool | None:
            return await self.committed() == wanted or None

        await eventually(look, every=0.05)


async def until(fact: Callable[[], bool]) -> None:
    async def look() -> bool | None:
        return fact() or None

    await eventually(look)


@pytest.fixture
def bench(kafka: Cluster, tmp_path: Path) -> Bench:
    return Bench(kafka, make_topic(kafka, partitions=4), tmp_path)


def numbers_of(records: Sequence[Record], partition: int) -> list[int]:
    return [int(record.value or b"") for record in records if record.partition == partition]


async def test_every_record_is_handled_in_the_order_of_its_partition_and_then_committed(bench: Bench) -> None:
    handler = Handler()
    handler.gate.set()
    bench.produce({0: 500, 1: 300})
    async with bench.worker(handler):
        await bench.until_committed({0: 500, 1: 300})
    assert numbers_of(handler.done, 0) == [*range(500)]
    assert numbers_of(handler.done, 1) == [*range(300)]
    assert all(len(batch) <= BATCH for batch in handler.begun)
    assert handler.assignments == 1


async def test_a_commit_that_is_refused_is_made_again_without_another_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = list[Any]()
    commit = GroupCoordinator.commit_offsets

    async def refuse_twice(self: GroupCoordinator, assignment: Any, offsets: Any) -> None:
        if len(refused) < 2:
            refused.append(offsets)
            raise errors.GroupAuthorizationFailedError
        await commit(self, assignment, offsets)

    monkeypatch.setattr(GroupCoordinator, "commit_offsets", refuse_twice)
    handler = Handler()
    handler.gate.set()
    bench.produce({0: BATCH})
    async with bench.worker(handler):
        await until(lambda: len(refused) == 2)
        await bench.until_committed({0: BATCH})
        bench.produce({0: BATCH})
        await bench.until_committed({0: 2 * BATCH})
    assert len(handler.done) == 2 * BATCH


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_records_are_read_however_a_topic_or_its_producer_compresses_them(bench: Bench, compression: str) -> None:
    handler = Handler()
    handler.gate.set()
    bench.produce({0: 100}, size=1000, compression=compression)
    async with bench.worker(handler):
        await bench.until_committed({0: 100})
    assert numbers_of(handler.done, 0) == [*range(100)]


async def test_what_is_not_done_is_not_committed_and_comes_again(bench: Bench) -> None:
    stuck = Handler()
    bench.produce({0: 500})
    async with bench.worker(stuck) as app:
        await until(lambda: bool(stuck.begun))
        await app.consumer.commit()
    assert await bench.committed() == {}
    handler = Handler()
    handler.gate.set()
    async with bench.worker(handler):
        await bench.until_committed({0: 500})
    assert numbers_of(handler.done, 0) == [*range(500)]


async def test_a_batch_that_is_done_after_its_partitions_went_commits_nothing_of_the_next_owner(bench: Bench) -> None:
    slow, quick = Handler(), Handler()
    quick.gate.set()
    bench.produce(dict.fromkeys(range(4), 200))
    async with bench.worker(slow) as first:
        await until(lambda: bool(slow.begun))
        async with bench.worker(quick) as second:
            await until(lambda: len(first.consumer.assignment()) == len(second.consumer.assignment()) == 2)
            theirs = {place.partition for place in second.consumer.assignment()}
            await until(lambda: all(len(numbers_of(quick.done, partition)) == 200 for partition in theirs))
            before = await bench.committed()
            slow.gate.set()
            await bench.until_committed(dict.fromkeys(range(4), 200))
        assert {place.partition for place in before} <= theirs
    for partition in range(4):
        assert {*numbers_of(slow.done + quick.done, partition)} == {*range(200)}
    assert slow.losses == quick.losses == []


async def test_a_worker_that_leaves_hands_over_where_it_was(bench: Bench) -> None:
    handler, heir = Handler(), Handler()
    handler.gate.set()
    heir.gate.set()
    bench.produce({0: 100, 1: 100})
    async with bench.worker(handler):
        await until(lambda: len(handler.done) == 200)
    async with bench.worker(heir):
        bench.produce({0: 1})
        await until(lambda: bool(heir.done))
    assert [record.offset for record in heir.done] == [100]
    assert handler.losses == heir.losses == []


async def test_what_is_acknowledged_is_committed_before_its_partitions_go(bench: Bench) -> None:
    """Faust forgets the acknowledgements of partitions that go; their records would come to the next owner again."""
    first, second = Handler(), Handler()
    first.gate.set()
    second.gate.set()
    bench.produce(dict.fromkeys(range(4), 20))
    async with bench.worker(first, commit_interval=1000) as old:
        await until(lambda: len(first.done) == 80 and not old.consumer.in_hand.records)
        assert await bench.committed() == {}
        async with bench.worker(second, commit_interval=1000) as new:
            await until(lambda: len(old.consumer.assignment()) == len(new.consumer.assignment()) == 2)
            assert await bench.committed() == {Place(bench.topic, partition): 20 for partition in range(4)}
    assert second.done == []


async def test_what_waited_for_its_turn_while_partitions_were_given_out_is_not_acknowledged(bench: Bench) -> None:
    """It comes again in the generation that is now; a crash before that would lose it."""
    other = make_topic(bench.kafka, partitions=4)
    first, second = Once(), Handler()
    bench.produce(dict.fromkeys(range(4), 5))
    bench.produce(dict.fromkeys(range(4), 5), topic=other)
    async with bench.worker(first, other) as old:
        await until(lambda: len(first.begun) == 1 and old.consumer.in_hand.records == 40)
        async with bench.worker(second, other) as new:
            await until(lambda: len(old.consumer.assignment()) == len(new.consumer.assignment()) == 4)
            await until(lambda: old.consumer.in_hand.records == 20)
            first.gate.set()
            await until(lambda: len(first.begun) == 2)
            await old.consumer.commit()
            assert await bench.committed(other) == {}


async def test_what_is_in_hand_is_bounded_in_bytes(bench: Bench) -> None:
    """Two batches, and the fetch that passes them: a share of each partition. Without the bound it would be all."""
    most, held = Most(BATCH, 500_000), [0]

    class Weighing(Handler):
        async def handle(self, records: Sequence[Record]) -> None:
            held.append(app.consumer.in_hand.size)
            await asyncio.sleep(0.05)  # what the next fetches bring comes meanwhile
            self.done += records

    handler = Weighing()
    bench.produce(dict.fromkeys(range(4), 40), size=250_000)
    async with bench.worker(handler, most=most) as app:
        await until(lambda: len(handler.done) == 160)
    assert most.size < max(held) <= 2 * most.size + 4 * FETCH


async def test_a_partition_whose_position_is_being_asked_for_does_not_crash_the_worker(bench: Bench) -> None:
    """Faust looks at the positions every few seconds, and aiokafka has none between a rebalance and the leader's answer."""
    handler = Handler()
    handler.gate.set()
    bench.produce({0: 1})
    async with bench.worker(handler) as app:
        await until(lambda: bool(handler.done))
        subscribed = app.consumer._thread._ensure_consumer()._subscription.subscription
        for place in subscribed.assignment.tps:
            subscribed.assignment.state_value(place)._position = None
        await app.consumer.verify_all_partitions_active()


async def test_a_fetch_that_waits_passes_over_no_partition_that_was_given_out_since(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it hold up the end of a worker."""
    monkeypatch.setattr(transport, "_FETCH", 1000.0)
    first, second = Handler(), Handler()
    first.gate.set()
    second.gate.set()
    async with bench.worker(first) as app:
        async with bench.worker(second) as other:
            await until(lambda: len(app.consumer.assignment()) == len(other.consumer.assignment()) == 2)
            bench.produce(dict.fromkeys(range(4), 1))
            await bench.until_committed(dict.fromkeys(range(4), 1))
            regained = [place.partition for place in other.consumer.assignment()]
        await until(lambda: len(app.consumer.assignment()) == 4)
        bench.produce(dict.fromkeys(regained, 1))
        await bench.until_committed(dict.fromkeys(range(4), 1) | dict.fromkeys(regained, 2))


async def test_nothing_is_passed_over_while_workers_come_and_go(bench: Bench) -> None:
    """Few records at a time, so that a fetch is nearly always waiting for more when partitions are given out anew."""
    handlers = [Slow() for _ in range(6)]
    async with bench.trickling() as produced, bench.worker(handlers[0]):
        for handler in handlers[1:]:
            async with bench.worker(handler):
                await until(lambda handler=handler: bool(handler.done))
            before = len(handlers[0].done)
            await until(lambda before=before: len(handlers[0].done) > before)
    last = Handler()
    last.gate.set()
    async with bench.worker(last):
        await bench.until_committed(dict(produced))
    for partition, number in produced.items():
        seen = {n for handler in (*handlers, last) for n in numbers_of(handler.done, partition)}
        assert sorted({*range(number)} - seen) == []
    assert [loss for handler in (*handlers, last) for loss in handler.losses] == []


async def test_records_that_kafka_no_more_has_are_a_loss_and_the_rest_is_read(bench: Bench) -> None:
    """While nobody reads, and before anything was committed at all."""
    first, second = Handler(), Handler()
    first.gate.set()
    second.gate.set()
    bench.produce({0: 100})
    async with bench.worker(first):
        await bench.until_committed({0: 100})
    bench.produce({0: 50, 1: 50})
    delete_records(bench.kafka, bench.topic, {0: 130, 1: 20})
    async with bench.worker(second):
        await bench.until_committed({0: 150, 1: 50})
    assert first.losses == []
    gone = [Loss("test", Place(bench.topic, 0), 100, 130), Loss("test", Place(bench.topic, 1), 0, 20)]
    assert sorted(second.losses) == gone
    assert [record.offset for record in second.done if record.partition == 0] == [*range(130, 150)]


async def test_records_that_go_while_they_are_read_are_a_loss(bench: Bench) -> None:
    slow = Handler()
    bench.produce({0: 100}, size=200_000)  # a fetch has some of them only
    async with bench.worker(slow):
        await until(lambda: bool(slow.begun))
        delete_records(bench.kafka, bench.topic, {0: 95})
        slow.gate.set()
        await bench.until_committed({0: 100})
    [loss] = slow.losses
    assert loss.until_offset == 95
    assert [record.offset for record in slow.done] == [*range(loss.from_offset), *range(95, 100)]


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(bench: Bench) -> None:
    """Kafka forgets what was committed with the topic, so the worker sees nothing; the relay, which knows its id, does."""
    first, second = Handler(), Handler()
    first.gate.set()
    second.gate.set()
    bench.produce({0: 100})
    async with bench.worker(first):
        await bench.until_committed({0: 100})
    await asyncio.to_thread(make_anew, bench.kafka, bench.topic, 4)
    bench.produce({0: 30})
    async with bench.worker(second):
        await bench.until_committed({0: 30})
    assert [record.offset for record in second.done] == [*range(30)]


async def test_one_commit_takes_all_that_is_acknowledged(bench: Bench) -> None:
    handler = Handler()
    handler.gate.set()
    async with bench.worker(handler, commit_interval=1000) as app:
        for number in (20, 40, 60, 80):
            bench.produce({0: 20})
            await until(lambda number=number: len(handler.done) == number and not app.consumer.in_hand.records)
            await app.consumer.commit()
            assert await bench.committed() == {Place(bench.topic, 0): number}


async def test_a_record_that_came_alone_first_does_not_stop_the_commits(bench: Bench) -> None:
    """Faust sees no gap behind the offset 0, though a message covers many offsets."""
    handler = Handler()
    handler.gate.set()
    async with bench.worker(handler):
        bench.produce({0: 1})
        await bench.until_committed({0: 1})
        bench.produce({0: 20})
        await bench.until_committed({0: 21})
        bench.produce({0: 1})
        await bench.until_committed({0: 22})
    assert numbers_of(handler.done, 0) == [0, *range(20), 0]
    assert handler.losses == []


async def test_a_log_that_has_lost_its_end_is_read_from_its_beginning(bench: Bench) -> None:
    """What was committed is past the end, and what is written now has offsets that were read before."""
    handler = Handler()
    handler.gate.set()
    bench.produce({0: 100, 1: 10})
    bench.move({0: 1000})
    async with bench.worker(handler):
        await bench.until_committed({0: 100, 1: 10})
        bench.produce({0: 5})
        await bench.until_committed({0: 105, 1: 10})
    assert [record.offset for record in handler.done if record.partition == 0] == [*range(105)]
    assert handler.losses == [Loss("test", Place(bench.topic, 0), 0, 1000, anew=True)]


async def test_nothing_is_passed_over_while_partitions_go_to_and_fro(bench: Bench) -> None:
    first, second = Slow(), Slow()
    async with bench.trickling() as produced, bench.worker(first):
        for _ in range(TO_AND_FRO // 2):
            before = len(first.done), len(second.done)
            async with bench.worker(second):
                await until(lambda before=before: len(second.done) > before[1])
            await until(lambda before=before: len(first.done) > before[0])
    last = Handler()
    last.gate.set()
    async with bench.worker(last):
        await bench.until_committed(dict(produced))
    for partition, number in produced.items():
        seen = {n for handler in (first, second, last) for n in numbers_of(handler.done, partition)}
        assert sorted({*range(number)} - seen) == []
    assert first.losses == second.losses == last.losses == []
