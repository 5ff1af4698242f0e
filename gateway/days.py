"""The check that today has its partitions, and that the clock that makes the ids is right."""

from datetime import timedelta
from typing import Final

import structlog

from gateway.errors import Reason
from outbox.clock import Own, ask_clock, own_clock
from outbox.errors import ClockSkewed
from outbox.partitions import is_there
from runtime.database import Pool
from runtime.failures import Failures
from runtime.service import Service

log = structlog.get_logger()

_EVERY: Final = timedelta(seconds=5)

Wrong = tuple[Reason, str]


class Days:
    """A service that looks every few seconds while Postgres answers; in between, and while it does not, the last look counts."""

    def __init__(self, pool: Pool, *, own: Own = own_clock, every: timedelta = _EVERY) -> None:
        self._pool = pool
        self._own = own
        self._every = every.total_seconds()
        self.wrong: Wrong | None = None
        """The reason for which a webhook that came now would be refused, with its detail."""
        service = Service("days", self.look, Failures("days", postponed="days_unknown"))
        self.open, self.close = service.open, service.close

    async def look(self) -> float:
        """Compare the clocks, and see whether the day of an id made now has its partitions."""
        async with self._pool.connection() as connection:
            clock = await ask_clock(connection, self._own)
            there = await is_there(connection, self._own().date())
        wrong: Wrong | None = None
        if clock.skewed:
            wrong = (Reason.CLOCK_SKEWED, str(ClockSkewed(clock.skew)))
        elif not there:
            wrong = (Reason.PARTITION_MISSING, "today has no partition yet")
        if wrong and wrong != self.wrong:
            log.error("not_ready", reason=wrong[0], error=wrong[1])
        self.wrong = wrong
        return self._every
