"""The worker's own code over records of the log, into a schema of its own: the live tables as they would be if built anew."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from operations.errors import OperationError, Reason
from operations.offset_replay import log
from operations.offset_replay.bounds import End, Start, Stop
from operations.offset_replay.live import Asked, Progress, read_positions
from operations.offset_replay.log import Stretch
from operations.offset_replay.plan import stops_of, wanted_of
from outbox.offsets import Offsets, Place
from runtime.database import make_pool
from streams.payments.handler import REBUILDING
from streams.processor import Processor
from streams.records import Record
from streams.role import Role
from streams.settings import StreamSettings


class Buildable(NamedTuple):
    """A role whose tables the log alone makes; `tables` is what its handler writes beside marks, events and dead letters."""

    role: Role
    tables: Sequence[str]


BUILDABLE: Final[Mapping[str, Buildable]] = {
    REBUILDING.name: Buildable(
        REBUILDING, ("payments", "refunds", "disputes", "subscriptions", "invoices", "history", "reconciliations")
    )
}
_WHY_NOT: Final[Mapping[str, str]] = {
    "alerts": "it counts alerts in windows that are forgotten, and keeps nothing else",
    "cache": "it removes keys from the cache and keeps nothing",
    "leads": "its tables hold what CRMs answered, and asking them again would be a second delivery",
    "notifications": "its tables hold what became of messages, and sending them again would be a second message",
    "search": "its documents are in Elasticsearch and have the versions that their events gave them: a copy could not differ",
}
_LANES: Final = 4


class Built(NamedTuple):
    """The counts of what went into the shadow."""

    records: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.records / max(self.seconds, 1e-9)


def refuse_unbuildable(worker: str) -> None:
    """Raises OperationError with reason `shadow_impossible`."""
    if worker not in BUILDABLE:
        raise OperationError(
            Reason.SHADOW_IMPOSSIBLE, f"{worker} has no shadow: {_WHY_NOT.get(worker, 'its tables are not known here')}"
        )


def stretches_of(offsets: Offsets, asked: Asked, start: Start, stop: Stop) -> dict[Place, Stretch]:
    """The records to build from, up to where the log ends now. Raises BrokerError, OperationError."""
    positions = read_positions(offsets, asked, start)
    beginnings = wanted_of(start, positions)
    stops = stops_of(stop, positions if isinstance(stop, End) else read_positions(offsets, asked, stop))
    ends = {place: min(span.end, stops.get(place, span.end)) for place, span in positions.spans.items()}
    return {place: Stretch(begin, max(begin, ends[place])) for place, begin in beginnings.items()}


async def build(
    role: Role, settings: StreamSettings, schema: str, stretches: Mapping[Place, Stretch], progress: Progress
) -> Built:
    """Handle every record of the stretches in the schema, the next batch being read meanwhile."""
    path = f"{schema}, pg_catalog"
    pool = make_pool(
        settings.database_url, size=_LANES + 1, name=f"shadow {role.name}", lease=settings.lock_lease, search_path=path
    )
    began, records = time.monotonic(), 0
    async with pool, role.opened(settings, pool) as running:
        processor = Processor(running.handler, pool, lanes=_LANES, retry_max=settings.streams_retry_max)
        batches = log.read(settings.kafka, stretches)
        coming = asyncio.ensure_future(asyncio.to_thread(_next, batches))
        while batch := await coming:
            coming = asyncio.ensure_future(asyncio.to_thread(_next, batches))
            await processor.process(batch)
            records += len(batch)
            progress(len(batch))
    return Built(records, time.monotonic() - began)


def _next(batches: Iterator[list[Record]]) -> list[Record]:
    return next(batches, [])
