"""Batches from a real Kafka: in order, committed when they are done and not before, across rebalances."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from outbox.offsets import Offsets, Place
from streams.transport import App, Batches
from tests.kafka import make_topic
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from streams.records import Record

BATCH: Final = 50
LIMIT: Final = 60.0  # seconds


@dataclass
class Handler:
    """Keeps what it was given; while `gate` is shut, a batch is not done."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[list[Record]] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    assignments: int = 0

    async def handle(self, records: Sequence[Record]) -> None:
        self.begun.append([*records])
        await self.gate.wait()
        self.done += records

    def reassigned(self) -> None:
        self.assignments += 1


@dataclass
class Bench:
    """A topic of its own, and workers of one group that read it."""

    server: str
    topic: str
    folder: Path
    group: str = field(default_factory=lambda: f"g-{uuid4().hex[:8]}")

    @asynccontextmanager
    async def worker(self, handler: Handler) -> AsyncIterator[App]:
        app = App(
            self.group,
            [self.topic],
            Batches(BATCH, handler.handle, handler.reassigned),
            broker=[f"aiokafka://{self.server}"],
            store="memory://",
            datadir=str(self.folder / uuid4().hex),
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            broker_commit_interval=0.2,
            consumer_auto_offset_reset="earliest",
            stream_wait_empty=False,
            web_enabled=False,
        )
        await app.start()
        try:
            yield app
        finally:
            await app.stop()

    def produce(self, numbers: dict[int, int]) -> None:
        producer = Producer({"bootstrap.servers": self.server})
        for partition, number in numbers.items():
            for n in range(number):
                producer.produce(self.topic, f"{n}", partition=partition)
        assert producer.flush(20) == 0

    async def committed(self) -> dict[Place, int]:
        found = await asyncio.to_thread(Offsets(self.server).group, self.group, [self.topic])
        return dict(found.committed)

    async def until_committed(self, numbers: dict[int, int]) -> None:
        wanted = {Place(self.topic, partition): number for partition, number in numbers.items()}

        async def look() -> bool | None:
            return await self.committed() == wanted or None

        await eventually(look, seconds=LIMIT, every=0.05)


async def until(fact: Callable[[], bool]) -> None:
    async def look() -> bool | None:
        return fact() or None

    await eventually(look, seconds=LIMIT)


@pytest.fixture
def bench(kafka_server: str, tmp_path: Path) -> Bench:
    return Bench(kafka_server, make_topic(kafka_server, partitions=2), tmp_path)


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
    bench.produce({0: 200, 1: 200})
    async with bench.worker(slow) as first:
        await until(lambda: bool(slow.begun))
        async with bench.worker(quick) as second:
            await until(lambda: len(first.consumer.assignment()) == len(second.consumer.assignment()) == 1)
            [theirs] = second.consumer.assignment()
            await until(lambda: len(numbers_of(quick.done, theirs.partition)) == 200)
            before = await bench.committed()
            slow.gate.set()
            await bench.until_committed({0: 200, 1: 200})
        assert before.get(Place(bench.topic, 1 - theirs.partition)) is None
    for partition in (0, 1):
        assert {*numbers_of(slow.done + quick.done, partition)} == {*range(200)}


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
