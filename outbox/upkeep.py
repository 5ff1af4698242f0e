"""
The upkeep of records that expire: days are created ahead, and expired records are deleted.

Upkeep uses Postgres' clock, read once a run. While the clock of its own machine differs from it, days are created and nothing
is deleted. If the partition of today or tomorrow is missing, it is created within seconds.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

import psycopg
import structlog
from psycopg import AsyncConnection

from outbox import metrics
from outbox.alerts import CLOCK_SKEWED, RETENTION_BEHIND, Condition, count_occurrences, delete_windows
from outbox.clock import OwnClock, own_clock, read_clock, read_clock_async
from outbox.errors import ClockSkewed
from outbox.partitions import Upkeep, has_day, maintain, make_days
from outbox.settings import RetentionSettings
from runtime.failures import Failures
from runtime.service import Service, connected
from runtime.sessions import connect, connect_async, readable

log = structlog.get_logger()

_STATEMENT: Final = timedelta(minutes=5)
EVERY: Final = timedelta(hours=1)
"""The time between two runs."""
_LOOK_EVERY: Final = 10.0  # seconds between two looks at the days and the clock
_BEHIND: Final = 1
"""Days that may be due and left before an alert is raised: a run that comes late around midnight leaves one."""


class Due(NamedTuple):
    """
    The times of one run of the upkeep.

    `now` is Postgres' time. `reached` is the progress of the daily tables, which is earlier while days are left for later runs;
    `before` is the start of their retention. A run deletes everything that is due if `all_due`, else one day's worth.
    """

    now: datetime
    reached: datetime
    before: datetime
    all_due: bool


class Deletion(Protocol):
    """Deletes other records beyond their retention, on a connection in autocommit mode."""

    def __call__(self, connection: psycopg.Connection, due: Due) -> object: ...


def keep_partitions(
    settings: RetentionSettings, *deletions: Deletion, all_due: bool = False, own: OwnClock = own_clock
) -> Upkeep:
    """
    Create the days ahead, detach those beyond the retention, and delete other expired records, once.

    Only one day's worth is deleted, unless `all_due`. Raises ClockSkewed, after the days are created.
    """
    retention = timedelta(days=settings.retention_days)
    with _connect(settings) as connection:
        clock = read_clock(connection, own)
        if clock.skewed:
            make_days(connection, clock.now, retention)
            raise ClockSkewed(clock.skew)
        upkeep = maintain(connection, clock.now, retention, grace=settings.retention_grace, all_due=all_due)
        reached = clock.now - timedelta(days=upkeep.behind)
        due = Due(clock.now, reached, reached - retention, all_due)
        delete_windows(connection, due.before)
        for delete in deletions:
            delete(connection, due)
        return upkeep


def make_days_ahead(settings: RetentionSettings) -> Upkeep:
    """Create the days that are missing, and remove nothing."""
    with _connect(settings) as connection:
        return make_days(connection, read_clock(connection).now, timedelta(days=settings.retention_days))


def keeping_days(settings: RetentionSettings, deletions: Sequence[Deletion], own: OwnClock = own_clock) -> Service:
    """
    Return the service: a run every hour, and whenever a day is missing.

    A run blocks its event loop, so the service needs a thread of its own.
    """
    due = 0.0

    async def use(connection: AsyncConnection) -> None:
        nonlocal due
        while True:
            if time.monotonic() >= due or not await _are_days_there(connection):
                due = 0.0  # if the run fails, it is still due
                await keep_days(settings, deletions, own)
                due = time.monotonic() + EVERY.total_seconds()
            await readable(connection, _LOOK_EVERY)  # nothing is sent on it: only the end of the connection is readable

    rounds = connected(settings.database_url, "retention", use, lease=settings.lock_lease)
    failures = Failures("retention", postponed="retention_postponed", failed="retention_failed", longest_away=_LOOK_EVERY)
    return Service("retention", rounds, failures)


async def keep_days(settings: RetentionSettings, deletions: Sequence[Deletion], own: OwnClock = own_clock) -> None:
    """Run the upkeep once, and report what it found: a clock that differs and days that are left behind are alerts."""
    try:
        upkeep = keep_partitions(settings, *deletions, own=own)
    except ClockSkewed as skewed:
        log.error("retention_refused", reason=skewed.reason, error=str(skewed), skew_seconds=skewed.skew.total_seconds())  # noqa: TRY400  # no bug
        await _raise(settings, CLOCK_SKEWED, "retention", detail=str(skewed))
        return
    metrics.UPKEEP.set_to_current_time()
    metrics.RETENTION_BEHIND.set(upkeep.behind)
    if any(upkeep):
        log.info("partitions_kept", **(upkeep._asdict() | {"created": len(upkeep.created)}))
    if upkeep.behind > _BEHIND:
        log.warning("retention_behind", reason="retention_behind", days=upkeep.behind)
        await _raise(settings, RETENTION_BEHIND, "retention", upkeep.behind)


async def _are_days_there(connection: AsyncConnection) -> bool:
    """Return whether today and tomorrow, by Postgres' clock, have their partitions; the clocks are compared as well."""
    today = (await read_clock_async(connection)).now.date()
    return await has_day(connection, today) and await has_day(connection, today + timedelta(days=1))


async def _raise(settings: RetentionSettings, condition: Condition, subject: str, number: int = 1, *, detail: str = "") -> None:
    async with await connect_async(settings.database_url, name="retention", lease=settings.lock_lease) as connection:
        await count_occurrences(connection, condition, subject, number, detail=detail)


def _connect(settings: RetentionSettings) -> psycopg.Connection:
    return connect(settings.database_url, name="retention", lease=settings.lock_lease, holds=True, statement=_STATEMENT)
