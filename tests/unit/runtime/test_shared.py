"""A value that many callers need: computed once for all of them, cached for a while, and waited for with a limit."""

from __future__ import annotations

import asyncio

import pytest

from runtime.shared import Shared


class Search:
    """A search that the test ends, and a clock that the test moves."""

    def __init__(self, patience: float = 60.0) -> None:
        self.searches = 0
        self.now = 100.0
        self.error: Exception | None = None
        self.let = asyncio.Event()
        self.let.set()
        self.shared = Shared(self._find, fresh=4.0, patience=patience, clock=lambda: self.now)

    async def _find(self) -> int:
        self.searches += 1
        await self.let.wait()
        if self.error:
            raise self.error
        return self.searches


async def test_callers_at_the_same_time_share_one_search_and_so_do_those_soon_after() -> None:
    search = Search()
    assert await asyncio.gather(*(search.shared.now() for _ in range(20))) == [1] * 20
    search.now += 3.9
    assert (await search.shared.now(), search.searches) == (1, 1)
    search.now += 0.2
    assert (await search.shared.now(), search.searches) == (2, 2)


async def test_a_value_that_took_long_is_kept_ten_times_as_long() -> None:
    search = Search()
    search.let.clear()
    asked = asyncio.create_task(search.shared.now())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    search.now += 30
    search.let.set()
    await asked
    search.now += 299
    assert await search.shared.now() == 1
    search.now += 2
    assert await search.shared.now() == 2


async def test_a_caller_that_waits_too_long_gets_the_previous_value_or_none() -> None:
    search = Search(patience=0.0)
    search.let.clear()
    assert await search.shared.now() is None
    search.let.set()
    for _ in range(5):  # turns of the loop, in which the search ends
        await asyncio.sleep(0)
    assert await search.shared.now() == 1
    search.now += 5
    search.let.clear()
    assert [await search.shared.now() for _ in range(3)] == [1, 1, 1]
    assert search.searches == 2


async def test_a_failure_is_raised_to_all_that_wait_and_the_next_one_searches_again() -> None:
    search = Search()
    search.error = ValueError("away")
    for _ in range(2):
        with pytest.raises(ValueError, match="away"):
            await search.shared.now()
    search.error = None
    assert await search.shared.now() == 3


async def test_a_cancelled_caller_does_not_end_the_search_of_the_others() -> None:
    search = Search()
    search.let.clear()
    leaving, staying = (asyncio.create_task(search.shared.now()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    search.let.set()
    assert (await staying, search.searches) == (1, 1)


async def test_it_ends_a_running_search() -> None:
    search = Search()
    await search.shared.close()
    search.let.clear()
    asked = asyncio.create_task(search.shared.now())
    await asyncio.sleep(0)
    await search.shared.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
