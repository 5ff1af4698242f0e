"""Waiting for a fact, with a limit: the only pause that tests know."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def wait_until(fact: Callable[[], object], *, seconds: float = 20, every: float = 0.02) -> None:
    """Return as soon as the fact holds; fail when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"did not become true within {seconds} s"
        time.sleep(every)


async def eventually(look: Callable[[], Awaitable[T | None]], *, seconds: float = 20, every: float = 0.02) -> T:
    """The first answer that is not None; fails when none comes within the time."""
    deadline = time.monotonic() + seconds
    while (found := await look()) is None:
        assert time.monotonic() < deadline, f"nothing came within {seconds} s"
        await asyncio.sleep(every)
    return found
