"""The records that a worker has fetched and not acknowledged yet."""

import asyncio
from collections.abc import Sequence
from typing import Any

from streams.agents import BatchLimits, size_of


class InHand:
    """The amount that was fetched and is not acknowledged yet; the next fetch waits while it fills two batches."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limit = BatchLimits(2 * limits.records, 2 * limits.size)
        self._room = asyncio.Event()
        self.clear()

    def clear(self) -> None:
        """Forget everything, with the assignment that brought it."""
        self.records = self.size = 0
        self._room.set()

    def add(self, records: Sequence[Any]) -> None:
        self._change(len(records), size_of(records))

    def remove(self, records: Sequence[Any]) -> None:
        self._change(-len(records), -size_of(records))

    async def room(self) -> None:
        """Return when something may be fetched."""
        await self._room.wait()

    def _change(self, records: int, size: int) -> None:
        self.records += records
        self.size += size
        if self.records < self._limit.records and self.size < self._limit.size:
            self._room.set()
        else:
            self._room.clear()
