"""
Notices, by the offsets that Kafka acknowledges, that a log has lost its end: a broker came back without its last records.

The check of all logs every few seconds misses what was sent and lost between two checks, and a log that has grown meanwhile.
"""

import asyncio
from datetime import timedelta

from outbox import lost
from outbox.lost import Loss
from outbox.offsets import Place, Span
from runtime.sessions import connect_async
from schemas.topology import workers


class AcknowledgedOffsets:
    """
    The last acknowledged offset of each partition, by topic and number, over all sessions of the producer.

    One that is not above the last one was acknowledged before, for a record that is lost now. Such a range is due for a report
    twice: at once, for the lost records, and when the log has grown past its former end, because a worker that had read up to
    there skips the records that have these offsets now.
    """

    def __init__(self) -> None:
        self.due: dict[tuple[str, int], Span] = {}
        """The ranges of offsets that must be reported."""
        self._last: dict[tuple[str, int], int] = {}
        self._growing: dict[tuple[str, int], Span] = {}
        """The ranges of logs that have not grown past their former ends yet."""

    def note(self, topic: str, partition: int | None, offset: int | None) -> None:
        """Note the offset of a record; None if the client does not know it, as after a retry."""
        if partition is None or offset is None:
            return
        place = topic, partition
        last = self._last.get(place, -1)
        self._last[place] = offset
        if offset <= last:
            was = self._growing.get(place, Span(offset, 0))
            self._growing[place] = self.due[place] = Span(min(was.begin, offset), max(was.end, last + 1))
        elif self._growing and place in self._growing and offset >= self._growing[place].end:
            self.due[place] = Span(self._growing.pop(place).begin, offset + 1)


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
