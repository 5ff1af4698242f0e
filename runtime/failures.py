"""The failures of a loop that must not end: how each is reported, and how long the loop waits after it."""

import random
from collections.abc import Callable
from typing import Final

import structlog
from prometheus_client import Counter

from runtime.database import passing_reason
from runtime.excerpts import described, excerpt_of
from runtime.heartbeat import now

log = structlog.get_logger()

FAILED: Final = Counter(
    "tallyhook_loop_failures_total", "Rounds of a background loop that failed unexpectedly; the loop continues.", ["loop"]
)
POSTPONED: Final = Counter(
    "tallyhook_loop_postponed_total",
    "Rounds of a background loop that were postponed because a service that it needs is away.",
    ["loop", "reason"],
)

_FIRST: Final = 1.0
_LONGEST: Final = 60.0
_FIRST_AWAY: Final = 0.2
LONGEST_AWAY: Final = 5.0
"""The longest pause, in seconds, between two attempts to reach a service that is away."""


class Failures:
    """
    The failures in a row of one loop; the pause grows with each of them.

    A failure that may pass (`passing` returns its reason) is counted and logged as a warning, under the name `postponed`. Any
    other failure is unexpected: it is counted and logged with its stack trace as `round_failed`, after a line named `failed` if
    the loop has such a name. A round that lasted longer than the longest pause ends the row.
    """

    def __init__(
        self,
        loop: str,
        *,
        postponed: str = "loop_postponed",
        failed: str | None = None,
        passing: Callable[[Exception], str | None] = passing_reason,
        longest_away: float = LONGEST_AWAY,
    ) -> None:
        self._loop = loop
        self._postponed = postponed
        self._failed = failed
        self._passing = passing
        self._longest_away = longest_away
        self._first, self._longest = _FIRST, _LONGEST
        self._in_a_row = 0
        self._began = now()
        FAILED.labels(loop)  # so that it is 0 before the first failure, and a rate can be computed

    def begin(self) -> None:
        """Note that a round begins."""
        self._began = now()

    def passed(self) -> None:
        """Note that a round succeeded: the next failure is a first one."""
        self._in_a_row = 0

    def pause_after(self, error: Exception, **context: object) -> float:
        """Log and count a failed round, expected or not; returns the seconds to wait before the next one."""
        if (reason := self._passing(error)) is None:
            return self.note(error, **context)
        pause = self._pause(_FIRST_AWAY, self._longest_away)
        POSTPONED.labels(self._loop, reason).inc()
        log.warning(self._postponed, reason=reason, error=excerpt_of(error).strip(), retry_in=round(pause, 2), **context)
        return pause

    def note(self, error: BaseException, **context: object) -> float:
        """Log and count a round that failed unexpectedly; returns the seconds to wait before the next one."""
        pause = self._pause(self._first, self._longest)
        FAILED.labels(self._loop).inc()
        if self._failed:
            log.error(self._failed, reason=self._failed, error=described(error))
        log.error("round_failed", reason="internal_error", loop=self._loop, retry_in=round(pause, 2), exc_info=error, **context)
        return pause

    def _pause(self, first: float, longest: float) -> float:
        if now() - self._began > longest:
            self._in_a_row = 0
        pause = min(longest, first * 2.0 ** min(self._in_a_row, 30)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
        self._in_a_row += 1
        return pause
