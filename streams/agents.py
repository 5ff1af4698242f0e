"""
The agents of a worker: one for each of its topics, and one batch at a time, whichever of them brings it.

A gap between the records that they bring is a loss: Kafka has lost the records in it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from faust.types import TP, StreamT

from outbox.lost import Loss
from outbox.offsets import Place
from streams.batches import Batch, Chunk, Most, batches
from streams.records import Record

if TYPE_CHECKING:
    from faust import Stream

    from streams.transport import App


class Continuity:
    """
    A continuity follows the offsets of one assignment of partitions.

    Nothing here is transactional or compacted, so offsets follow one another: a jump ahead is records that are gone, and one
    back is a log that has begun anew.
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
                found.append(Loss(self._consumer, place, 0, expected, anew=True))
            expected = record.offset + 1
        self._next[place] = expected
        return found


class Work(NamedTuple):
    """The work of a worker's agents on their records, of which a batch has at most `most`."""

    consumer: str
    most: Most
    handle: Callable[[Sequence[Record]], Awaitable[None]]
    """Returns when every record has had its effects, durably; must not raise."""
    lost: Callable[[Sequence[Loss]], Awaitable[None]]
    """Kafka has lost records that come before those that are handled next; returns when that is recorded."""
    reassigned: Callable[[], None]
    """Partitions were given out; called before their records are handled."""
    stuck: Callable[[], None]
    """A rebalance does not end: this process will not read again."""


def add_agents(app: "App", topics: Sequence[str], work: Work) -> None:
    """Register an agent for each topic: `faust agents` cannot list one that has several."""
    desk = _Desk(app, work)

    for topic in topics:

        @app.agent(app.topic(app.kafka.named(topic), key_serializer="raw", value_serializer="raw"), name=topic)
        async def agent(stream: StreamT[Chunk]) -> None:
            """Give every event of the topic its effects, once."""
            chunks = cast("Stream[Chunk]", stream).noack()  # by itself Faust acknowledges also what has failed or was interrupted
            async for batch in batches(chunks, work.most):
                await desk.handle(batch)
                for chunk in batch.chunks:
                    await chunks.ack(chunk)


class _Desk:
    """A desk has the agents take turns: a batch has all of the worker's lanes, and losses before it are reported first."""

    def __init__(self, app: "App", work: Work) -> None:
        self._app = app
        self._work = work
        self._turn = asyncio.Lock()
        self._generation: int | None = None
        self._continuity = Continuity(work.consumer)

    async def handle(self, batch: Batch) -> None:
        """Handle a batch, unless its partitions were taken away while it waited: then its records come again."""
        async with self._turn:
            if not self._app.consumer.is_current(batch.generation):
                return
            if batch.generation != self._generation:
                self._generation, self._continuity = batch.generation, Continuity(self._work.consumer)
                self._work.reassigned()
            begun, kafka = self._app.consumer.begun, self._app.kafka
            if losses := self._continuity.follow(
                batch.records, lambda place: begun.get(TP(kafka.named(place.topic), place.partition))
            ):
                await self._work.lost(losses)
            await self._work.handle(batch.records)
