"""A circuit breaker: a CRM that fails again and again is left alone for a while, then tried with one lead."""

from datetime import timedelta
from typing import Literal

State = Literal["closed", "open", "half_open"]


class Breaker:
    """The breaker of one CRM; times are seconds of any clock that never goes back."""

    def __init__(self, *, threshold: int, cooldown: timedelta, longest: timedelta) -> None:
        self._threshold = threshold
        self._cooldown = cooldown.total_seconds()
        self._longest = longest.total_seconds()
        self._trips = 0
        self.failures = 0
        """In a row."""
        self.open_until: float | None = None

    def state(self, now: float) -> State:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def room(self, now: float, under_way: int, cap: int) -> int:
        """Return how many more attempts may begin: none while open, a single probe when half open."""
        allowed = {"closed": cap, "open": 0, "half_open": 1}[self.state(now)]
        return max(0, allowed - under_way)

    def note(self, now: float, *, healthy: bool) -> None:
        """Count an attempt. One that fails while the breaker is open began before, and changes nothing."""
        if healthy:
            self.close()
        elif (state := self.state(now)) != "open":
            self.failures += 1
            if state == "half_open" or self.failures >= self._threshold:
                self.open_until = now + min(self._longest, self._cooldown * 2.0 ** min(self._trips, 30))
                self._trips += 1

    def close(self) -> None:
        """Let everything through."""
        self.failures = self._trips = 0
        self.open_until = None

    def probe(self, now: float) -> None:
        """Let one attempt through now, even if the next one was to be later."""
        if self.open_until is not None:
            self.open_until = min(self.open_until, now)

    def reopen(self, now: float, failures: int) -> None:
        """Go on from what another process has seen: one attempt is let through now, and decides."""
        self.failures, self._trips, self.open_until = failures, 1, now
