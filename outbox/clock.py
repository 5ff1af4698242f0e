"""
Postgres' clock, which all processes share: it decides which rows are due, which have expired and which may be dropped.

A process compares its own clock with it. Nothing is dropped while the two differ by more than a minute, since either
of them may be wrong.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Gauge
from psycopg import AsyncConnection, Connection

from outbox.errors import ClockSkewed
from runtime.database import Pool
from runtime.failures import Failures
from runtime.ids import first_id_of, time_of
from runtime.moments import EPOCH
from runtime.service import Service

log = structlog.get_logger()

SKEW: Final = Gauge(
    "tallyhook_clock_skew_seconds", "Seconds by which the clock of this process is ahead of the clock of Postgres."
)

OwnClock = Callable[[], datetime]

SKEW_MAX: Final = timedelta(minutes=1)

_APART_MAX: Final = 2 * SKEW_MAX  # of two processes, since each may differ from Postgres

_READ_EVERY: Final = 30.0  # seconds

_CLOCK: Final = "select clock_timestamp()"


def first_consequence_of(event_id: UUID) -> UUID:
    """Return the lowest id that a consequence of the event may have: the clock of its writer may be behind the event's own."""
    return first_id_of(max(time_of(event_id) - _APART_MAX, EPOCH))


class Reading(NamedTuple):
    """Postgres' time, and by how much this process' clock was ahead of it, without the travel time of the answer."""

    now: datetime
    skew: timedelta

    @property
    def skewed(self) -> bool:
        return abs(self.skew) > SKEW_MAX

    def check(self) -> None:
        """Raise ClockSkewed if the two clocks differ too much."""
        if self.skewed:
            raise ClockSkewed(self.skew)


def reading(before: datetime, server: datetime, after: datetime) -> Reading:
    """Return the reading for the server's answer to a request that was sent at `before`; the answer arrived at `after`."""
    skew = before - server if server < before else min(after - server, timedelta())
    SKEW.set(skew.total_seconds())
    return Reading(server, skew)


def own_clock() -> datetime:
    """Return the time by this machine's clock."""
    return datetime.now(UTC)


def read_clock(connection: Connection, own: OwnClock = own_clock) -> Reading:
    """Read Postgres' clock, and compare this process' `own` with it."""
    before = own()
    row = connection.execute(_CLOCK).fetchone()
    assert row is not None  # noqa: S101  # a select without a table has a row
    return reading(before, row[0], own())


async def read_clock_async(connection: AsyncConnection, own: OwnClock = own_clock) -> Reading:
    """Read Postgres' clock, in an event loop."""
    before = own()
    row = await (await connection.execute(_CLOCK)).fetchone()
    assert row is not None  # noqa: S101  # a select without a table has a row
    return reading(before, row[0], own())


class ServerClock:
    """Postgres' time: its latest reading, advanced by the monotonic clock."""

    def __init__(self) -> None:
        self._read: tuple[datetime, float] | None = None

    def reading(self, pool: Pool) -> Service:
        """Return the service that reads Postgres' clock at intervals; while Postgres is away, the last reading is advanced."""

        async def read() -> float:
            async with pool.connection() as connection:
                self.set((await read_clock_async(connection)).now, time.monotonic())
            return _READ_EVERY

        return Service("clock", read, Failures("clock", postponed="clock_unread"))

    @property
    def known(self) -> bool:
        """Return whether it has been read."""
        return self._read is not None

    def set(self, now: datetime, monotonic: float) -> None:
        """Set the time: it was `now` when the monotonic clock read `monotonic`."""
        self._read = (now, monotonic)

    def now(self) -> datetime:
        """Return the time; the clock must have been read before."""
        assert self._read is not None, "the clock is read before it is used"  # noqa: S101  # a fault of ours
        then, monotonic = self._read
        return then + timedelta(seconds=time.monotonic() - monotonic)
