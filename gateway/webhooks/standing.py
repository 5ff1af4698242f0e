"""How long a source has been turned away, beside how long it goes on trying."""

import time
from collections.abc import Callable
from datetime import timedelta

from gateway import metrics


class Standing:
    """Of one source with this gateway; a provider that is refused for longer than it `gives_up` after loses events."""

    def __init__(self, source: str, gives_up: timedelta | None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since: float | None = None
        metrics.REFUSING.labels(source).set_function(self.refusing_seconds)
        if gives_up is not None:
            metrics.GIVES_UP.labels(source).set(gives_up.total_seconds())

    def taken(self) -> None:
        self._since = None

    def refused(self) -> None:
        if self._since is None:
            self._since = self._now()

    def refusing_seconds(self) -> float:
        """Since the first refusal after which nothing was taken; 0 where something was."""
        since = self._since
        return 0.0 if since is None else self._now() - since
