"""
Ranges of offsets that a consumer reads again, and a worker's part in them.

`tallyhook replay offsets` records a range before it moves the offsets of a group without members, so a worker that
gets partitions after that finds it. Without a replay, a worker queries once for each assignment, and never for an event.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.rows import class_row

from outbox.errors import BrokerError
from outbox.offsets import Offsets, Place
from runtime.database import UNAVAILABLE, Pool
from runtime.excerpts import excerpt_of
from runtime.kafka import Cluster
from runtime.service import Hold
from schemas.topology import group_of
from streams.records import Record

log = structlog.get_logger()

Effects = Literal["suppressed", "allowed"]

REPLAYED: Final = "replay"
"""The reason why something is not sent, called or ordered: the replay suppresses it."""

_LOOK_EVERY: Final = 1.0  # seconds
_REPORT_EVERY: Final = 30.0  # seconds

# A command moves the offsets within half a minute after it has stored the range.
_OPEN: Final = """
select id, topic, partition, from_offset, until_offset, effects,
  created_at between now() - interval '1 minute' and now() + interval '1 minute' as is_new
from offset_replays where consumer = %s and finished_at is null
"""
_FINISH: Final = """
update offset_replays r set finished_at = now() from unnest(%s::uuid[], %s::text[], %s::int4[]) as v(id, topic, partition)
where (r.id, r.topic, r.partition) = (v.id, v.topic, v.partition) and r.finished_at is null
"""


class Range(NamedTuple):
    """
    Offsets of a partition that are read again: `until_offset` is the first that had never been read.

    While a range `is_new`, the command that stored it may not have moved the offsets yet.
    """

    id: UUID
    topic: str
    partition: int
    from_offset: int
    until_offset: int
    effects: Effects
    is_new: bool


class Replays:
    """The open ranges of one consumer, as of the last assignment."""

    def __init__(self, consumer: str) -> None:
        self.consumer = consumer
        self.is_loaded = False
        self._forgotten = 0
        self.open: dict[tuple[str, int], Range] = {}

    def forget(self) -> None:
        """Have the ranges loaded again before the next batch."""
        self.is_loaded = False
        self._forgotten += 1

    async def load(self, connection: AsyncConnection) -> None:
        forgotten = self._forgotten
        async with connection.cursor(row_factory=class_row(Range)) as cursor:
            await cursor.execute(_OPEN, (self.consumer,))
            self.open = {(found.topic, found.partition): found for found in await cursor.fetchall()}
        self.is_loaded = forgotten == self._forgotten  # otherwise another assignment came meanwhile, and the rows may be older

    def suppressing(self, record: Record) -> UUID | None:
        """Return the replay that suppresses the external effects of the record, if there is one."""
        found = self.open.get((record.topic, record.partition))
        held = found is not None and found.effects == "suppressed" and record.offset < found.until_offset
        return found.id if found and held else None

    def passed(self, records: Sequence[Record]) -> list[Range]:
        """The ranges whose end is among these records, or before them."""
        last: dict[tuple[str, int], int] = {}
        for record in records:
            last[record.topic, record.partition] = record.offset
        return [found for place, found in self.open.items() if last.get(place, -1) >= found.until_offset - 1]

    async def finish(self, connection: AsyncConnection, ranges: Sequence[Range]) -> None:
        """Record that these ranges are read."""
        columns = [[each.id for each in ranges], [each.topic for each in ranges], [each.partition for each in ranges]]
        await connection.execute(_FINISH, columns)
        for each in ranges:
            self.open.pop((each.topic, each.partition), None)
            log.info("replay_finished", replay=str(each.id), topic=each.topic, partition=each.partition)


def after_replays(consumer: str, pool: Pool, kafka: Cluster) -> Hold:
    """
    Hold a service for as long as a suppressed replay of the consumer is open.

    An event that has yet to be read again may record that something is already sent, which the service would send again.
    """
    replays, offsets = Replays(consumer), Offsets(kafka)
    report_at = 0.0

    async def hold() -> float:
        nonlocal report_at
        open_ranges = await _still_open(replays, pool, offsets)
        if open_ranges and time.monotonic() >= report_at:
            report_at = time.monotonic() + _REPORT_EVERY
            log.warning("sending_held", reason="replay_unfinished", partitions=sorted(place for _, place in open_ranges))
        return _LOOK_EVERY if open_ranges else 0.0

    return hold


async def _still_open(replays: Replays, pool: Pool, offsets: Offsets) -> list[tuple[str, int]]:
    """
    Return the partitions with an open suppressed range; a placeholder while that cannot be determined.

    Ranges that the group has passed are closed: those of a command that died before it moved any offset, and those whose records
    Kafka has deleted. New ones are not: the group has passed them only until the command moves it.
    """
    try:
        async with pool.connection() as connection:
            await replays.load(connection)
            held = [each for each in replays.open.values() if each.effects == "suppressed" and not each.is_new]
            if held and (over := await asyncio.to_thread(_read_past, replays.consumer, held, offsets)):
                await replays.finish(connection, over)
    except (*UNAVAILABLE, BrokerError) as error:
        log.warning("waiting", reason=getattr(error, "reason", "postgres_unavailable"), error=excerpt_of(error))
        return [("", -1)]
    except Exception:  # a check that is repeated must not end its process
        log.exception("waiting", reason="internal_error")
        return [("", -1)]
    return [place for place, each in replays.open.items() if each.effects == "suppressed"]


def _read_past(consumer: str, ranges: Sequence[Range], offsets: Offsets) -> list[Range]:
    look = offsets.look({each.topic for each in ranges}, [group_of(consumer)])
    committed = look.groups[group_of(consumer)].committed
    reached = {place: max(committed.get(place, 0), span.begin) for place, span in look.spans.items()}
    return [each for each in ranges if reached.get(Place(each.topic, each.partition), 0) >= each.until_offset]
