"""A cache for one value that is expensive to find: one search at a time, whose result all callers share for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

Value = TypeVar("Value")

_REST: Final = 10
"""A value is kept at least this many times as long as the search for it took: searches take a tenth of the time at most."""


class Shared(Generic[Value]):
    """
    The value that `find` returns, which all callers get for the next `fresh` seconds, or longer if the search took long.

    A later caller waits for the one search that is under way, but at most `patience` seconds: then it gets the previous value, or
    None if there is none.
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
        """Return the value. An error of the search is raised to every caller that waits for it."""
        if self._known is not None and self._clock() < self._until:
            return self._known
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._look())
            self._search.add_done_callback(_retrieve_error)
        search = self._search
        # Not `wait_for`: a caller that is cancelled, or waits no longer, must not cancel the search of the others.
        done, _ = await asyncio.wait([search], timeout=self._patience)
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


def _retrieve_error(search: "asyncio.Task[Any]") -> None:
    """Retrieve the error of a search, so that asyncio does not log it: every caller may have been cancelled."""
    if not search.cancelled():
        search.exception()
