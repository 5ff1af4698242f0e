"""Waiting for a fact, with a limit: the only pause that tests know."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(fact: Callable[[], object], *, seconds: float = 20, every: float = 0.02) -> None:
    """Return as soon as the fact holds; fail when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, f"did not become true within {seconds} s"
        time.sleep(every)
