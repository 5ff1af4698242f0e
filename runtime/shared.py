"""A value that is dear to find, for many who ask for it: found once at a time, kept for a while, and shared."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

Value = TypeVar("Value")

_REST: Final = 10
"""A value that took long to find is kept for so many times as long: finding it takes up a tenth of the time at most."""


class Shared(Generic[Value]):
    """
    The value that `find` returns, which is given to all who ask within the next `fresh` seconds, or longer if it was dear.

    Who comes later waits for the one search that is under way, but no longer than `patience` seconds: the value before is given
    then, or None if there was none.
    """

    def __init__(
        self, find: Callable[[], Awaitable[Value]], *, fresh: float, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find = find
        self._fresh = fresh
        self._patience = patience
        self._clock = clock
        self._known: Value | None = None
        self._until = 0.0
        self._search: asyncio.Task[Value] | None = None

    async def now(self) -> Value | None:
        """Return the value. What the search raises is raised to all who wait for it."""
        if self._known is not None and self._clock() < self._until:
            return self._known
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._look())
            self._search.add_done_callback(_heed)
        search = self._search
        done, _ = await asyncio.wait([search], timeout=self._patience)  # one who leaves does not end what others wait for
        return search.result() if done else self._known

    async def close(self) -> None:
        """End a search that is under way."""
        if self._search:
            self._search.cancel()
            await asyncio.wait([self._search])

    async def _look(self) -> Value:
        began = self._clock()
        found = await self._find()
        ended = self._clock()
        self._known = found
        self._until = ended + max(self._fresh, (ended - began) * _REST)
        return found


def _heed(search: "asyncio.Task[Any]") -> None:
    """Take note of what a search raised: all who waited for it may have left."""
    if not search.cancelled():
        search.exception()
