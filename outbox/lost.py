"""
Finds records that Kafka lost before a consumer read them, by its commits and by the ends of the logs now and before.

Retention, a lost disk or an operator may remove the beginning of a log; if a broker comes back with an older disk, the end
is lost; if a topic is created again, both are. A consumer whose offset is gone continues elsewhere, and reports nothing.
A gap that is reported twice is stored once, and raises one alert.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import prometheus_client
import structlog
from psycopg import AsyncConnection

from outbox.alerts import RECORDS_LOST, count_occurrences
from outbox.offsets import Place, Span
from runtime.ids import new_id


class Loss(NamedTuple):
    """
    Records of a partition, from one offset up to, but not including, another, that Kafka lost before a consumer read them.

    `offsets_reused` is true if the log lost its end: records that were sent again before may be lost too.
    """

    consumer: str
    place: Place
    from_offset: int
    until_offset: int
    offsets_reused: bool = False

    @property
    def number(self) -> int:
        """The largest possible number of lost records: some of them may have been read."""
        return self.until_offset - self.from_offset

    def __str__(self) -> str:
        return f"{self.place.topic}/{self.place.partition} from {self.from_offset} to {self.until_offset}"


class TopicState(NamedTuple):
    """The state of a topic at one time: Kafka's id of it, and the ends of its partitions in their order."""

    topic_id: str
    ends: Sequence[int]

    def end(self, partition: int) -> int:
        return self.ends[partition] if partition < len(self.ends) else 0


def losses_of(
    consumer: str,
    spans: Mapping[Place, Span],
    committed: Mapping[Place, int],
    before: Mapping[str, TopicState],
    now: Mapping[str, TopicState],
) -> Iterator[Loss]:
    """
    Find the losses of one consumer in the partitions that it reads.

    A consumer that never committed has read nothing: it starts at the beginning of the log, which was offset 0.
    """
    for place, span in spans.items():
        was, at = before.get(place.topic), committed.get(place, 0)
        if was and place.topic in now and was.topic_id != now[place.topic].topic_id:
            if reached := max(was.end(place.partition), at):
                yield Loss(consumer, place, 0, reached, offsets_reused=True)
        elif at > span.end:
            yield Loss(consumer, place, 0, at, offsets_reused=True)
        elif was and was.end(place.partition) > span.end:
            yield Loss(consumer, place, span.end, was.end(place.partition), offsets_reused=True)
        elif at < span.begin:
            yield Loss(consumer, place, at, span.begin)


log = structlog.get_logger()

LOST: Final = prometheus_client.Counter(
    "tallyhook_records_lost_total", "Records that Kafka had lost before a worker read them.", ["worker", "topic"]
)

REPORTED_CHANNEL: Final = "lost_ranges"
"""Notified when ranges are reported, so that the relay that sends their events again need not look every second."""
_NAMED_MAX: Final = 8


class _Known(NamedTuple):
    from_offset: int
    until_offset: int
    resent_from: int | None


async def report(connection: AsyncConnection, losses: Iterable[Loss]) -> list[Loss]:
    """Store losses and raise alerts, on a connection in autocommit mode; return those that were not reported before."""
    fresh: list[Loss] = []
    for (consumer, topic), group in groupby(sorted(losses), key=lambda loss: (loss.consumer, loss.place.topic)):
        async with connection.transaction():
            new = [loss for loss in group if await _write(connection, loss)]
            if new:
                detail = ", ".join(map(str, new[:_NAMED_MAX])) + (
                    f" and {len(new) - _NAMED_MAX} more" if new[_NAMED_MAX:] else ""
                )
                number = sum(loss.number for loss in new)
                await count_occurrences(
                    connection, RECORDS_LOST, f"{consumer} {topic}", number, detail=f"{consumer} worker: {detail}"
                )
                await connection.execute("select pg_notify(%s, '')", (REPORTED_CHANNEL,))
        fresh += new
    for loss in fresh:
        LOST.labels(loss.consumer, loss.place.topic).inc(loss.number)
        log.error(
            "records_lost",
            reason="records_lost",
            worker=loss.consumer,
            topic=loss.place.topic,
            partition=loss.place.partition,
            from_offset=loss.from_offset,
            until_offset=loss.until_offset,
        )
    return fresh


_KNOWN: Final = """
select from_offset, until_offset, resent_from from lost_ranges where consumer = %s and topic = %s and partition = %s for update
"""
_WRITE: Final = """
insert into lost_ranges (consumer, topic, partition, from_offset, until_offset, resend_id, resent_from)
values (%s, %s, %s, %s, %s, %s, %s)
on conflict (consumer, topic, partition) do update set from_offset = excluded.from_offset, until_offset = excluded.until_offset,
  found_at = now(), resent_from = excluded.resent_from, cursor = null, searched_at = null, finished_at = null
"""
_SEARCH_AGAIN: Final = """
update lost_ranges set cursor = null, searched_at = null where consumer = %s and topic = %s and finished_at is null
"""


async def _write(connection: AsyncConnection, loss: Loss) -> bool:
    """Store one loss; return False if it was reported before."""
    key = (loss.consumer, *loss.place)
    await connection.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"lost {key}",))
    row = await (await connection.execute(_KNOWN, key)).fetchone()
    known = _Known(*row) if row else None
    if known and (known.from_offset, known.until_offset) == (loss.from_offset, loss.until_offset):
        return False
    resent_from = known.resent_from if known else None
    if loss.offsets_reused or (resent_from is not None and loss.until_offset > resent_from):
        resent_from = None  # the events that were sent again are lost too
        await connection.execute("delete from lost_events where consumer = %s and topic = %s", (loss.consumer, loss.place.topic))
    await connection.execute(_WRITE, (*key, loss.from_offset, loss.until_offset, new_id(), resent_from))
    await connection.execute(_SEARCH_AGAIN, (loss.consumer, loss.place.topic))
    return True
