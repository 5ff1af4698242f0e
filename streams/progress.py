"""The progress of one worker process in its partitions, read from its own consumer."""

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec
import structlog
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from streams import metrics
from streams.transport import App

log = structlog.get_logger()

_PATIENCE: Final = 2.0
"""Seconds that Kafka may take to return the ends of partitions; then the last answer counts, or the mark of the last fetch."""


class Held(msgspec.Struct, frozen=True):
    """A partition that this process has as a worker of that role; `end` is the offset that its next record gets."""

    worker: str
    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


class Progress:
    """
    A reader of the positions of a Faust application's consumer.

    The high-water marks that come with fetched records stand still while a worker waits and fetches nothing, which is when lag is
    asked for, so Kafka is asked for the ends: one call for all partitions, and one more while some have no commit yet.
    """

    def __init__(self, app: App, worker: str) -> None:
        self._app = app
        self._worker = worker
        self._ends: dict[TP, int] = {}
        self._begins: dict[TP, int] = {}

    async def read(self) -> list[Held]:
        """Return every partition of this process, in order; one whose end is not known yet is left out."""
        try:
            places = self._app.consumer.assignment()
        except ConsumerNotStarted:
            return []
        committed = self._committed(places)
        await self._ask(places, [place for place in places if committed[place] is None])
        return [
            Held(
                self._worker,
                self._app.kafka.ours(p.topic),
                p.partition,
                committed[p],
                self._ends[p],
                self._lag(p, committed[p]),
            )
            for p in sorted(places)
            if p in self._ends
        ]

    def _committed(self, places: set[TP]) -> dict[TP, int | None]:
        return {place: self._app.consumer.committed(place) for place in places}

    def _lag(self, place: TP, committed: int | None) -> int:
        return max(0, self._ends[place] - (committed if committed is not None else self._begins.get(place, 0)))

    async def _ask(self, places: set[TP], fresh: list[TP]) -> None:
        consumer = self._app.consumer
        if not places:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                self._ends.update(await consumer.highwaters(*places))
                if fresh:
                    self._begins.update(await consumer.earliest_offsets(*fresh))
        except (TimeoutError, KafkaError, ConsumerNotStarted) as error:
            log.warning("lag_stale", role=self._worker, reason="kafka_unavailable", error=str(error) or type(error).__name__)
            self._ends |= {p: mark for p in places - self._ends.keys() if (mark := consumer.highwater(p)) is not None}


async def read_all(readers: Iterable[Progress]) -> list[Held]:
    """Read the partitions of several roles at once."""
    return [held for found in await asyncio.gather(*(reader.read() for reader in readers)) for held in found]


def expose(held: Iterable[Held]) -> None:
    """Set the lag of every partition for a scrape; partitions that have gone to another process are gone here."""
    metrics.LAG.clear()
    for place in held:
        metrics.LAG.labels(place.worker, place.topic, str(place.partition)).set(place.lag)
