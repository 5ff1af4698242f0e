"""The progress of one worker process in its partitions, read from its own consumer."""

import asyncio
from collections.abc import Iterable

import msgspec
import structlog
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

from outbox.errors import BrokerError
from streams import metrics
from streams.transport import App

log = structlog.get_logger()


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

    The high-water marks that come with fetched records do not change while a worker waits and fetches nothing, and that is when
    its lag matters. So the end offsets are requested from Kafka, on connections of their own: on those of the consumer a request
    would wait for a poll to end.
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
        await self._request(places)
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

    async def _request(self, places: set[TP]) -> None:
        kafka = self._app.kafka
        try:
            spans = await asyncio.to_thread(self._app.offsets.spans, {kafka.ours(place.topic) for place in places})
        except BrokerError as error:
            log.warning("lag_stale", role=self._worker, reason=error.reason, error=str(error))
            for known in places:  # the last fetch has an end offset at least, for partitions that have none here
                if mark := self._app.consumer.highwater(known):
                    self._ends.setdefault(known, mark)
            return
        for place, span in spans.items():
            found = TP(kafka.named(place.topic), place.partition)
            self._begins[found], self._ends[found] = span


async def read_all(readers: Iterable[Progress]) -> list[Held]:
    """Read the partitions of several roles at once."""
    return [held for found in await asyncio.gather(*(reader.read() for reader in readers)) for held in found]


def expose(held: Iterable[Held]) -> None:
    """Set the lag of every partition for a scrape; partitions that another process has now are removed."""
    metrics.LAG.clear()
    for place in held:
        metrics.LAG.labels(place.worker, place.topic, str(place.partition)).set(place.lag)
