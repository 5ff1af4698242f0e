"""The check that today has its partitions, and that the clock from which ids are made is right."""

from datetime import timedelta
from typing import Final

import structlog

from gateway.errors import Reason
from outbox.clock import OwnClock, own_clock, read_clock_async
from outbox.errors import ClockSkewed
from outbox.partitions import has_day
from runtime.database import Pool
from runtime.failures import Failures
from runtime.service import Service

log = structlog.get_logger()

_EVERY: Final = timedelta(seconds=5)

Fault = tuple[Reason, str]


class Days:
    """A service that checks every few seconds; between two checks, and while Postgres does not answer, the last result counts."""

    def __init__(self, pool: Pool, *, own: OwnClock = own_clock, every: timedelta = _EVERY) -> None:
        self._pool = pool
        self._own = own
        self._every = every.total_seconds()
        self.fault: Fault | None = None
        """The reason for which a webhook would be refused now, with its detail."""
        service = Service("days", self.check, Failures("days", postponed="days_unknown"))
        self.open, self.close = service.open, service.close

    async def check(self) -> float:
        """Compare the clocks, and check that the day of an id that is made now has its partitions."""
        async with self._pool.connection() as connection:
            clock = await read_clock_async(connection, self._own)
            there = await has_day(connection, self._own().date())
        fault: Fault | None = None
        if clock.skewed:
            fault = (Reason.CLOCK_SKEWED, str(ClockSkewed(clock.skew)))
        elif not there:
            fault = (Reason.PARTITION_MISSING, "today has no partition yet")
        if fault and fault != self.fault:
            log.error("not_ready", reason=fault[0], error=fault[1])
        self.fault = fault
        return self._every
