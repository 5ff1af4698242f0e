"""What a loop that must not end does with a round that failed of something nobody expected."""

import random
from typing import Final

import structlog
from prometheus_client import Counter

log = structlog.get_logger()

FAILED: Final = Counter(
    "tallyhook_loop_failures_total", "Rounds of a background loop that failed unexpectedly; the loop continues.", ["loop"]
)

_FIRST: Final = 1.0
_LONGEST: Final = 60.0


class Failures:
    """
    The failures in a row of one loop: each is logged with its stack trace and counted, and the pause grows with each.

    Outages (`runtime.database.UNAVAILABLE`) are expected: a loop handles those before it comes here.
    """

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._first, self._longest = _FIRST, _LONGEST
        self._in_a_row = 0
        FAILED.labels(loop)  # so that it is 0 before the first failure, and a rate can be told

    def passed(self) -> None:
        """A round ended well: the next failure is a first one."""
        self._in_a_row = 0

    def note(self, error: BaseException, **context: object) -> float:
        """Log and count a failed round; returns the seconds to wait before the next one."""
        pause = min(self._longest, self._first * 2.0 ** min(self._in_a_row, 30)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
        self._in_a_row += 1
        FAILED.labels(self._loop).inc()
        log.error("round_failed", reason="internal_error", loop=self._loop, retry_in=round(pause, 2), exc_info=error, **context)
        return pause
