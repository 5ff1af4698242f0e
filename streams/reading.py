"""What one worker has fetched and what it has handled, for as long as its partitions stay with it."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from outbox.offsets import Place
from streams.records import Record


class Most(NamedTuple):
    """As many records, of as many bytes; one that is larger alone."""

    records: int
    size: int


class Reading:
    """
    The records of one assignment of partitions, between the fetch and the handler.

    Every assignment has a reading of its own and closes the one before, so that neither a fetch that comes late nor a batch that
    is done late can reach into the next one: its offsets may have been moved, or be somebody else's.
    """

    def __init__(self, limit: Most) -> None:
        self.handled: Final[dict[Place, int]] = {}
        """For each partition the offset after the last record that was handled: what may be committed."""
        self._limit = limit
        self._waiting: list[Record] = []
        self._size = 0  # bytes of what waits
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, records: Sequence[Record]) -> None:
        """Add what a fetch brought, in its order; waits while the limit is reached, and drops it once this is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._has_room())
            if not self._closed:
                self._waiting += records
                self._size += sum(map(_size_of, records))
                self._changed.notify_all()

    async def take(self, most: Most) -> list[Record]:
        """The next records, one at least, in their order; none once this is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._waiting)
            number, size = _within(most, self._waiting)
            taken, self._waiting = self._waiting[:number], self._waiting[number:]
            self._size -= size
            self._changed.notify_all()
            return taken

    def note_handled(self, records: Sequence[Record]) -> None:
        """Say that all these have been handled, and with them all that were taken before."""
        for record in records:
            self.handled[Place(record.topic, record.partition)] = record.offset + 1

    async def close(self) -> None:
        """Let go of what waits."""
        async with self._changed:
            self._closed = True
            self._waiting.clear()
            self._size = 0
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._waiting) < self._limit.records and self._size < self._limit.size


def _within(most: Most, records: Sequence[Record]) -> tuple[int, int]:
    """How many of the first records are no more than that, and their bytes."""
    total = 0
    for number, record in enumerate(records[: most.records]):
        size = _size_of(record)
        if number and total + size > most.size:
            return number, total
        total += size
    return min(len(records), most.records), total


def _size_of(record: Record) -> int:
    return len(record.value or b"")
