"""Workers of one group that read a topic of a real Kafka, and the records that their handler got."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from confluent_kafka import Producer

from outbox.offsets import Offsets, Place
from streams.agents import BatchLimits, Work
from streams.transport import App
from tests.kafka import commit_for
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path
    from typing import Self

    from outbox.lost import Loss
    from runtime.kafka import Cluster
    from streams.records import Record

BATCH: Final = 50
LIMITS: Final = BatchLimits(BATCH, 4_194_304)
FETCH: Final = 1_048_576
"""The bytes of one partition in a fetch, as Faust sets them."""
TO_AND_FRO: Final = 20
"""The number of rebalances: each worker that joins or leaves causes one."""


@dataclass
class Handler:
    """Keeps the records it got; while `gate` is shut, no batch finishes."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[list[Record]] = field(default_factory=list)
    done: list[Record] = field(default_factory=list)
    assignments: int = 0
    losses: list[Loss] = field(default_factory=list)

    @classmethod
    def opened(cls) -> Self:
        """Return a handler whose gate is open."""
        handler = cls()
        handler.gate.set()
        return handler

    async def handle(self, records: Sequence[Record]) -> None:
        self.begun.append([*records])
        await self.gate.wait()
        self.done += records

    async def lost(self, losses: Sequence[Loss]) -> None:
        self.losses += losses

    def reassigned(self) -> None:
        self.assignments += 1


class Once(Handler):
    """Shuts its gate after each batch."""

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
    """A separate topic, and workers of one group that read it."""

    kafka: Cluster
    topic: str
    folder: Path
    group: str = field(default_factory=lambda: f"g-{uuid4().hex[:8]}")

    @asynccontextmanager
    async def worker(
        self, handler: Handler, *others: str, limits: BatchLimits = LIMITS, commit_interval: float = 0.2, retry: float = 5.0
    ) -> AsyncIterator[App]:
        """A worker of the topic and of others."""
        app = App(
            self.group,
            [self.topic, *others],
            Work("test", limits, handler.handle, handler.lost, handler.reassigned, stuck),
            kafka=self.kafka,
            retry=retry,
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
        """Produce a few records again and again during the block; yields the number for each partition."""
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
        commit_for(self.kafka, self.group, {Place(self.topic, partition): offset for partition, offset in offsets.items()})

    async def committed(self, *others: str) -> dict[Place, int]:
        found = await asyncio.to_thread(Offsets(self.kafka).group, self.group, [self.topic, *others])
        return dict(found.committed)

    async def until_committed(self, numbers: dict[int, int]) -> None:
        wanted = {Place(self.topic, partition): number for partition, number in numbers.items()}

        async def look() -> bool | None:
            return await self.committed() == wanted or None

        await eventually(look, every=0.05)


def numbers_of(records: Sequence[Record], partition: int) -> list[int]:
    return [int(record.value or b"") for record in records if record.partition == partition]
