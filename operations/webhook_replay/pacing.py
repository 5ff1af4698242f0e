"""The pace of a replay."""


class Pace:
    """A rate a second that holds over any span of time, with at most `burst` at once; `now` is a clock that only goes forward."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, min(float(burst), rate))
        self._room = 1.0
        self._at = now

    def room(self, now: float) -> int:
        """The number that may go at this moment."""
        self._room = min(self._burst, self._room + (now - self._at) * self._rate)
        self._at = now
        return int(self._room)

    def spend(self, number: int) -> None:
        """So many went."""
        self._room -= number
