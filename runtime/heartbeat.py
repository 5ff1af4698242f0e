"""Heartbeats: each loop of a process beats as it turns, and `/health/live` sees which of them has fallen silent."""

import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

HUNG_AFTER: Final = timedelta(minutes=1)
"""A loop that has not turned for so long hangs: the process is to be started again."""

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
    The turns of one loop; every thread may look.

    It owes a beat from its first one on, except while it rests: waiting for work that may never come.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._at: float | None = None

    def beat(self) -> None:
        """The loop has turned, or waits for something in steps of which this is one."""
        self._at = now()

    def rest(self) -> None:
        """Nothing is owed until the next beat."""
        self._at = None

    @property
    def silent(self) -> timedelta:
        """For how long a beat has been owed."""
        at = self._at
        return timedelta(seconds=max(0.0, now() - at)) if at is not None else timedelta()


def liveness(loops: Iterable[Heartbeat], limit: timedelta = HUNG_AFTER) -> dict[str, Any]:
    """Return the answer of `/health/live`: whether every loop turns, and which have been silent for longer than the limit."""
    hung = [loop.name for loop in loops if loop.silent > limit]
    return {"live": False, "reason": "loop_hung", "loops": hung} if hung else {"live": True}
