"""Reports of records that Kafka has lost: a gap that is reported twice is stored once, and raises one alert."""

from collections.abc import Iterable
from itertools import groupby
from typing import Final, NamedTuple

import prometheus_client
import structlog
from psycopg import AsyncConnection

from outbox.alerts import RECORDS_LOST, note
from outbox.losses import Loss
from runtime.ids import new_id

log = structlog.get_logger()

LOST: Final = prometheus_client.Counter(
    "tallyhook_records_lost_total", "Records that Kafka had lost before a worker read them.", ["worker", "topic"]
)

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
                await note(connection, RECORDS_LOST, f"{consumer} {topic}", number, detail=f"{consumer} worker: {detail}")
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
_SEARCH_ANEW: Final = """
update lost_ranges set cursor = null, searched_at = null where consumer = %s and topic = %s and finished_at is null
"""


async def _write(connection: AsyncConnection, loss: Loss) -> bool:
    """Store one loss; return False if it is known."""
    key = (loss.consumer, *loss.place)
    await connection.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"lost {key}",))
    row = await (await connection.execute(_KNOWN, key)).fetchone()
    known = _Known(*row) if row else None
    if known and (known.from_offset, known.until_offset) == (loss.from_offset, loss.until_offset):
        return False
    resent_from = known.resent_from if known else None
    if loss.anew or (resent_from is not None and loss.until_offset > resent_from):
        resent_from = None  # what was sent again is gone with it
        await connection.execute("delete from lost_events where consumer = %s and topic = %s", (loss.consumer, loss.place.topic))
    await connection.execute(_WRITE, (*key, loss.from_offset, loss.until_offset, new_id(), resent_from))
    await connection.execute(_SEARCH_ANEW, (loss.consumer, loss.place.topic))
    return True
