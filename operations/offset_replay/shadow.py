"""Run the worker's own code over records of the log into a separate schema: the live tables as they would be after a rebuild."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from operations.errors import OperationError, Reason
from operations.offset_replay import log
from operations.offset_replay.bounds import End, Start, Stop
from operations.offset_replay.live import Progress, Target, read_positions
from operations.offset_replay.log import OffsetRange
from operations.offset_replay.plan import stops_of, wanted_of
from outbox.offsets import Offsets, Place
from runtime.database import make_pool
from streams.payments.handler import REBUILDING
from streams.processor import Postponed, Processor
from streams.records import Record
from streams.role import Role
from streams.settings import StreamSettings


class Buildable(NamedTuple):
    """A role whose tables follow from the log alone; its handler writes `tables` besides marks, events and dead letters."""

    role: Role
    tables: Sequence[str]


BUILDABLE: Final[Mapping[str, Buildable]] = {
    REBUILDING.name: Buildable(
        REBUILDING, ("payments", "refunds", "disputes", "subscriptions", "invoices", "history", "reconciliations")
    )
}
_WHY_NOT: Final[Mapping[str, str]] = {
    "alerts": "it counts alerts in windows, which are deleted later, and keeps nothing else",
    "cache": "it removes keys from the cache and keeps nothing",
    "leads": "its tables hold the answers of CRMs, and calling the CRMs again would be a second delivery",
    "notifications": "its tables hold the outcomes of messages, and sending them again would be a second message",
    "search": "its documents are in Elasticsearch with the versions of their events, so a copy could not differ",
}
_LANES: Final = 4


class Built(NamedTuple):
    """The number of records that were handled in the shadow, and the time that it took."""

    records: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.records / max(self.seconds, 1e-9)


def refuse_unbuildable(worker: str) -> None:
    """Refuse a worker whose tables do not follow from the log. Raises OperationError `shadow_impossible`."""
    if worker not in BUILDABLE:
        raise OperationError(
            Reason.SHADOW_IMPOSSIBLE, f"{worker} has no shadow: {_WHY_NOT.get(worker, 'its tables are unknown')}"
        )


def ranges_of(offsets: Offsets, target: Target, start: Start, stop: Stop) -> dict[Place, OffsetRange]:
    """Return the ranges to build from, up to the present end of the log. Raises BrokerError, OperationError."""
    positions = read_positions(offsets, target, start)
    beginnings = wanted_of(start, positions)
    stops = stops_of(stop, positions if isinstance(stop, End) else read_positions(offsets, target, stop))
    ends = {place: min(span.end, stops.get(place, span.end)) for place, span in positions.spans.items()}
    return {place: OffsetRange(begin, max(begin, ends[place])) for place, begin in beginnings.items()}


async def build(
    role: Role,
    settings: StreamSettings,
    schema: str,
    ranges: Mapping[Place, OffsetRange],
    progress: Progress,
    *,
    postponed: Postponed,
) -> Built:
    """Handle every record of the ranges in the schema; the next batch is read meanwhile."""
    path = f"{schema}, pg_catalog"
    pool = make_pool(
        settings.database_url, size=_LANES + 1, name=f"shadow {role.name}", lease=settings.lock_lease, search_path=path
    )
    began, records = time.monotonic(), 0
    async with pool, role.opened(settings, pool) as running:
        processor = Processor(running.handler, pool, lanes=_LANES, retry_max=settings.streams_retry_max, postponed=postponed)
        batches = log.read(settings.kafka, ranges)
        coming = asyncio.ensure_future(asyncio.to_thread(_next, batches))
        while batch := await coming:
            coming = asyncio.ensure_future(asyncio.to_thread(_next, batches))
            await processor.process(batch)
            records += len(batch)
            progress(len(batch))
    return Built(records, time.monotonic() - began)


def _next(batches: Iterator[list[Record]]) -> list[Record]:
    return next(batches, [])
