"""Heartbeats: each loop of a process beats in every round, and `/health/live` reports the loops that have stopped."""

import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

HUNG_AFTER: Final = timedelta(minutes=1)
"""A loop that has not beaten for this long hangs: its process must be restarted."""

if sys.platform == "linux":

    def now() -> float:
        """Seconds of a clock that also runs while the process is stopped and while the machine sleeps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:

    def now() -> float:
        """Seconds of a clock that also runs while the process is stopped."""
        return time.monotonic()


class Heartbeat:
    """
    The heartbeat of one loop; any thread may read it.

    A beat is due from the first one on, except while the loop rests: while it waits for work that may never come.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._at: float | None = None

    def beat(self) -> None:
        """Note that the loop has begun a round, or has made one step of a long wait."""
        self._at = now()

    def rest(self) -> None:
        """Note that the loop rests: no beat is due until the next one."""
        self._at = None

    @property
    def silent(self) -> timedelta:
        """The time since the last beat; none while the loop rests."""
        at = self._at
        return timedelta(seconds=max(0.0, now() - at)) if at is not None else timedelta()


def liveness(loops: Iterable[Heartbeat], limit: timedelta = HUNG_AFTER) -> dict[str, Any]:
    """Return the answer of `/health/live`: live, or the loops that have been silent for longer than the limit."""
    hung = [loop.name for loop in loops if loop.silent > limit]
    return {"live": False, "reason": "loop_hung", "loops": hung} if hung else {"live": True}
