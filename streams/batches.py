"""Chunks in, batches out: the records of an agent's stream in pieces that one round can handle."""

from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, Final, NamedTuple, cast

from aiokafka import ConsumerRecord
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP, ChannelT, EventT, StreamT
from typing_extensions import override

from runtime.kafka import Cluster
from streams.records import Record


class Most(NamedTuple):
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
    Faust's `ConsumerScheduler`, which hands over each partition's records in one message.

    The message has the offset of its last record, so that one acknowledgement covers them all. Faust takes the offsets in between
    for a gap in the partition, which it commits past.
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

    def __init__(self, most: Most) -> None:
        self._most = most
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
        """A batch cannot grow by waiting."""
        return len(self._records) >= self._most.records or self._size >= self._most.size

    def add(self, chunk: EventT[Chunk]) -> None:
        """Append a chunk; those of an earlier generation, whose records come again, make way."""
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
        number, size = _within(self._most, self._records)
        taken, self._records = self._records[:number], self._records[number:]
        self._size -= size
        self._taken += number
        ended = []
        while self._chunks and self._chunks[0][1] <= self._taken:
            ended.append(self._chunks.popleft()[0])
        return Batch(taken, ended, self._generation)


async def batches(stream: StreamT[Chunk], most: Most) -> AsyncIterator[Batch]:
    """Yield the stream's records in batches that are as full as they become without waiting for more."""
    gathered, queue = Gathered(most), cast("ChannelT[Chunk]", stream.channel).queue
    async for chunk in stream.events():
        gathered.add(chunk)
        while gathered.is_full or (gathered and queue.empty()):
            yield gathered.take()


def size_of(records: Iterable[Record | ConsumerRecord]) -> int:
    """The bytes of the records' values."""
    return sum(len(record.value or b"") for record in records)


def _within(most: Most, records: Sequence[Record]) -> tuple[int, int]:
    """Return how many of the first records fit into the limits, and their bytes."""
    total = 0
    for number, record in enumerate(records[: most.records]):
        size = len(record.value or b"")
        if number and total + size > most.size:
            return number, total
        total += size
    return min(len(records), most.records), total
