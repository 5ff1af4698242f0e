"""Waiting for a fact, with a time limit: the only kind of pause in tests."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
LIMIT: Final = 120.0  # seconds; it only ends waits that would last for ever, so it is far above the time of a busy machine


def wait_until(fact: Callable[[], object], *, seconds: float = LIMIT, every: float = 0.02) -> None:
    """Return as soon as the fact holds; fail when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"did not become true within {seconds} s"
        time.sleep(every)


async def eventually(look: Callable[[], Awaitable[T | None]], *, seconds: float = LIMIT, every: float = 0.02) -> T:
    """Return the first answer that is not None; fails when none comes within the time."""
    deadline = time.monotonic() + seconds
    while (found := await look()) is None:
        assert time.monotonic() < deadline, f"nothing came within {seconds} s"
        await asyncio.sleep(every)
    return found


async def until(fact: Callable[[], object]) -> None:
    """Return as soon as the fact holds, while the event loop goes on; fail when it does not within the time."""

    async def look() -> bool | None:
        return True if fact() else None

    await eventually(look)
