"""The check that today has its partitions, and that the clock that makes the ids is right."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog

from gateway.errors import Reason
from outbox.clock import Own, ask_clock, own_clock
from outbox.errors import ClockSkewed
from outbox.partitions import is_there
from runtime.database import Pool

log = structlog.get_logger()

_EVERY: Final = timedelta(seconds=5)

Wrong = tuple[Reason, str]


class Days:
    """Looks every few seconds while Postgres answers; in between, and while it does not, the last look counts."""

    def __init__(self, pool: Pool, *, own: Own = own_clock, every: timedelta = _EVERY) -> None:
        self._pool = pool
        self._own = own
        self._every = every.total_seconds()
        self._task: asyncio.Task[None] | None = None
        self.wrong: Wrong | None = None
        """Why a webhook that came now would not be taken, and what to tell whoever asks."""

    async def open(self) -> None:
        """Start looking."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
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

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  # Postgres is away, which intake says; the loop must outlive anything
                log.debug("days_unknown", error=str(error))
            await asyncio.sleep(self._every)
