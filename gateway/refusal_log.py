"""Log lines about refused requests: their number in a minute is bounded, so that strangers cannot fill the disk."""

from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from gateway.errors import Reason

log = structlog.get_logger()

EACH_MAX: Final = 30
"""Lines a minute for one reason and one client."""
ALL_MAX: Final = 300
"""Lines a minute for all of a listener's clients together."""
_MINUTE: Final = 60.0


class RefusalLog:
    """The log of one listener; the metric also counts refusals that are not logged."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._began = now()
        self._written: Counter[tuple[Reason, str | None]] = Counter()
        self._lines = 0
        self._left_out: Counter[str] = Counter()

    def note(self, reason: Reason, client: str | None, **facts: object) -> None:
        """Log a refusal, or only count it if this minute has enough lines already."""
        self._begin_minute()
        if self._lines >= ALL_MAX or self._written[reason, client] >= EACH_MAX:
            self._left_out[reason.value] += 1
            return
        self._lines += 1
        self._written[reason, client] += 1
        log.info("request_refused", reason=reason, client=client, **facts)

    def _begin_minute(self) -> None:
        """Once the minute is over, log how many refusals were not logged, and start to count again."""
        if self._now() - self._began < _MINUTE:
            return
        self._began = self._now()
        self._lines = 0
        self._written.clear()
        if self._left_out:
            log.warning("refusals_not_logged", reason="too_many_refusals", refusals=dict(self._left_out))
            self._left_out.clear()
