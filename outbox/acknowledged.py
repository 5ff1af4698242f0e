"""
Notices, by the offsets that Kafka acknowledges, that a log has lost its end: a broker came back without its last records.

The check of all logs every few seconds misses what was sent and lost between two checks, and a log that has grown meanwhile.
"""

import asyncio
from datetime import timedelta
from typing import Final

from outbox import lost
from outbox.lost import Loss
from outbox.offsets import Place, Span
from runtime.heartbeat import now
from runtime.sessions import connect_async
from schemas.topology import workers

GROWS_WITHIN: Final = 3600.0  # seconds


class AcknowledgedOffsets:
    """
    The last acknowledged offset of each partition, by topic and number, over all sessions of the producer.

    One that is not above the last one was acknowledged before, for a record that is lost now. Such a range is due for a report
    twice: at once, for the lost records, and when the log has grown past its former end, because a worker that had read up to
    there skips the records that have these offsets now. A log that takes longer than `GROWS_WITHIN` for that is shorter than its
    former end at many checks of all logs, which find such a worker.
    """

    def __init__(self) -> None:
        self.due: dict[tuple[str, int], Span] = {}
        """The ranges of offsets that must be reported."""
        self._last: dict[tuple[str, int], int] = {}
        self._growing: dict[tuple[str, int], tuple[Span, float]] = {}
        """The ranges of logs that have not grown past their former ends yet, and since when."""

    def note(self, topic: str, partition: int | None, offset: int | None) -> None:
        """Note the offset of a record; None if the client does not know it, as after a retry."""
        if partition is None or offset is None:
            return
        place = topic, partition
        last = self._last.get(place, -1)
        self._last[place] = offset
        if offset <= last:
            was, _ = self._growing.get(place, (Span(offset, 0), 0.0))
            self.due[place] = span = Span(min(was.begin, offset), max(was.end, last + 1))
            self._growing[place] = span, now()
        elif self._growing and place in self._growing and offset >= self._growing[place][0].end:
            span, since = self._growing.pop(place)
            if now() - since < GROWS_WITHIN:
                self.due[place] = Span(span.begin, offset + 1)


def report_losses(offsets: AcknowledgedOffsets, url: str, lease: timedelta) -> None:
    """Report the ranges that are due as lost, for each worker that reads the topic. Blocks; if it fails, they stay due."""
    if not offsets.due:
        return
    losses = [
        Loss(worker.name, Place(*place), span.begin, span.end, offsets_reused=True)
        for place, span in offsets.due.items()
        for worker in workers()
        if place[0] in worker.consumes
    ]
    asyncio.run(_report(url, lease, losses))
    offsets.due.clear()


async def _report(url: str, lease: timedelta, losses: list[Loss]) -> None:
    async with await connect_async(url, name="relay", lease=lease) as connection:
        await lost.report(connection, losses)
