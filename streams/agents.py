"""
The agents of a worker: one for each of its topics. The worker handles one batch at a time, whichever agent brings it.

An agent's stream carries chunks; a chunk is what one fetch brought of one partition. The agent makes batches of them, none
larger than one round can handle. A gap between their records is a loss: Kafka has lost the records in it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from aiokafka import ConsumerRecord
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, ChannelT, EventT, StreamT
from typing_extensions import override

from outbox.lost import Loss
from outbox.offsets import Place
from runtime.kafka import Cluster
from streams.records import Record

if TYPE_CHECKING:
    from faust import Stream

    from streams.transport import App


class BatchLimits(NamedTuple):
    """The limits of a batch: a number of records and their bytes; a larger record is alone."""

    records: int
    size: int


class Chunk(list[Record]):
    """The records that one fetch brought of one partition: the value of one Faust message."""

    def __init__(self, records: Iterable[Record]) -> None:
        super().__init__(records)
        self.fetched_at: Final = monotonic()


class Chunks(DefaultSchedulingStrategy):
    """
    A `ConsumerScheduler` for Faust that passes the records of each partition on in one message.

    The message has the offset of its last record, so that one acknowledgement covers them all. Faust takes the offsets before
    it for a gap in the partition, and commits past the gap.
    """

    def __init__(self, kafka: Cluster) -> None:
        self._kafka = kafka

    @override
    def iterate(self, records: Mapping[TP, list[ConsumerRecord]]) -> Iterator[tuple[TP, Any]]:
        for place, found in records.items():
            topic = self._kafka.ours(place.topic)
            chunk = Chunk(Record(topic, each.partition, each.offset, each.key, each.value, each.headers) for each in found)
            yield place, replace(found[-1], key=None, value=chunk, headers=())


class Batch(NamedTuple):
    """Records that are handled together, the chunks whose last record is among them, and the generation that brought them."""

    records: list[Record]
    chunks: list[EventT[Chunk]]
    generation: int | None


class Gathered:
    """The chunks that an agent has taken from its stream, until their records are in batches."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._generation: int | None = None
        self._records: list[Record] = []
        self._size = 0
        self._chunks: deque[tuple[EventT[Chunk], int]] = deque()
        """Each with the number of records that were added up to its end."""
        self._added = self._taken = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def is_full(self) -> bool:
        """True once the next batch cannot grow any more by waiting."""
        return len(self._records) >= self._limits.records or self._size >= self._limits.size

    def add(self, chunk: EventT[Chunk]) -> None:
        """Append a chunk. Chunks of an earlier generation are dropped first: Kafka delivers their records again."""
        if chunk.message.generation_id != self._generation:
            self._generation = chunk.message.generation_id
            self._chunks.clear()
            self._records.clear()
            self._size, self._taken = 0, self._added
        records = cast("Chunk", chunk.value)
        self._added += len(records)
        self._chunks.append((chunk, self._added))
        self._records += records
        self._size += size_of(records)

    def take(self) -> Batch:
        """Remove the next batch: as many of the first records as it may hold, one at least."""
        number, size = _within(self._limits, self._records)
        taken, self._records = self._records[:number], self._records[number:]
        self._size -= size
        self._taken += number
        ended = []
        while self._chunks and self._chunks[0][1] <= self._taken:
            ended.append(self._chunks.popleft()[0])
        return Batch(taken, ended, self._generation)


async def batches(stream: StreamT[Chunk], limits: BatchLimits) -> AsyncIterator[Batch]:
    """Yield the stream's records in batches that are as full as they become without waiting for more."""
    gathered, queue = Gathered(limits), cast("ChannelT[Chunk]", stream.channel).queue
    async for chunk in stream.events():
        gathered.add(chunk)
        while gathered.is_full or (gathered and queue.empty()):
            yield gathered.take()


def size_of(records: Iterable[Record | ConsumerRecord]) -> int:
    """The bytes of the records' values."""
    return sum(len(record.value or b"") for record in records)


def _within(limits: BatchLimits, records: Sequence[Record]) -> tuple[int, int]:
    """Return how many of the first records fit into the limits, and their bytes."""
    total = 0
    for number, record in enumerate(records[: limits.records]):
        size = len(record.value or b"")
        if number and total + size > limits.size:
            return number, total
        total += size
    return min(len(records), limits.records), total


class Continuity:
    """
    The next expected offset of each partition of one assignment, by which lost records are found.

    No topic is transactional or compacted, so offsets are consecutive: a jump ahead means that records are gone, and a jump
    back that the log has started again.
    """

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer
        self._next: dict[Place, int] = {}

    def follow(self, records: Sequence[Record], committed: Callable[[Place], int | None]) -> list[Loss]:
        """
        Return the losses before and between these records, which come in the order of each partition.

        The first record of a partition should have the offset that was committed.
        """
        found: list[Loss] = []
        place, expected = Place("", -1), 0
        for record in records:
            if record.partition != place.partition or record.topic != place.topic:
                self._next[place] = expected
                place = Place(record.topic, record.partition)
                known = self._next.get(place)
                expected = (committed(place) or 0) if known is None else known
            if record.offset > expected:
                found.append(Loss(self._consumer, place, expected, record.offset))
            elif record.offset < expected:
                found.append(Loss(self._consumer, place, 0, expected, offsets_reused=True))
            expected = record.offset + 1
        self._next[place] = expected
        return found


class Work(NamedTuple):
    """The work of a worker's agents on their records; `limits` are those of a batch."""

    consumer: str
    limits: BatchLimits
    handle: Callable[[Sequence[Record]], Awaitable[None]]
    """Returns when every record has had its effects, durably; must not raise."""
    lost: Callable[[Sequence[Loss]], Awaitable[None]]
    """Called with the records that Kafka has lost before the next batch; returns when the losses are recorded."""
    reassigned: Callable[[], None]
    """Called after partitions were assigned, before their records are handled."""
    stuck: Callable[[], None]
    """Called when a rebalance does not end: this process will not read again."""


def add_agents(app: "App", topics: Sequence[str], work: Work) -> None:
    """Register an agent for each topic: `faust agents` cannot list one that has several."""
    turns = _Turns(app, work)

    for topic in topics:

        @app.agent(app.topic(app.kafka.named(topic), key_serializer="raw", value_serializer="raw"), name=topic)
        async def agent(stream: StreamT[Chunk]) -> None:
            """Give every event of the topic its effects, once."""
            chunks = cast("Stream[Chunk]", stream).noack()  # Faust's own acknowledgement covers failed and interrupted chunks too
            async for batch in batches(chunks, work.limits):
                await turns.handle(batch)
                for chunk in batch.chunks:
                    await chunks.ack(chunk)


class _Turns:
    """Makes the agents take turns: a batch has all of the worker's lanes, and losses before it are reported first."""

    def __init__(self, app: "App", work: Work) -> None:
        self._app = app
        self._work = work
        self._turn = asyncio.Lock()
        self._generation: int | None = None
        self._continuity = Continuity(work.consumer)

    async def handle(self, batch: Batch) -> None:
        """Handle a batch, unless its partitions were revoked while it waited: then Kafka delivers its records again."""
        async with self._turn:
            if not self._app.consumer.is_current(batch.generation):
                return
            if batch.generation != self._generation:
                self._generation, self._continuity = batch.generation, Continuity(self._work.consumer)
                self._work.reassigned()
            committed, kafka = self._app.consumer.committed_at_start, self._app.kafka
            if losses := self._continuity.follow(
                batch.records, lambda place: committed.get(TP(kafka.named(place.topic), place.partition))
            ):
                await self._work.lost(losses)
            await self._work.handle(batch.records)
