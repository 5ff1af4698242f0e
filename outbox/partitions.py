"""
The days of the daily tables: created ahead, detached as a whole at the end of the retention, and dropped some time later.

A detached day is a table of its own, `detached_outbox_20261124`, that no process reads or writes. It is attached again, with
its rows, as soon as its day is within the retention again: after a wrong clock, or a RETENTION_DAYS that was too short.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from time import sleep
from typing import Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, Connection, sql

from outbox import cutoffs
from outbox.locks import Lock
from runtime.ids import first_id_of
from runtime.moments import EPOCH

DAILY: Final = ("outbox", "webhook_deliveries", "consumed", "tasks", "audit_log")
"""The tables that have a partition for each day."""
DAYS_AHEAD: Final = 7
GRACE: Final = timedelta(days=1)
_LOCK_TIMEOUT: Final = "40ms"  # a DETACH that waits for its locks makes intake wait, so it soon gives up and is tried again
_CHECK_TIMEOUT: Final = "50ms"
_TRIES: Final = 5
_PAUSE: Final = 0.2  # seconds between two tries, in which intake goes on and a reader's statement may end


class Upkeep(NamedTuple):
    """
    The outcome of one run: names of the partitions, oldest first.

    `restored` were detached and are in use again; `deferred` are due but still in use. `behind` is how many days are due and left
    for later runs.
    """

    created: list[str]
    restored: list[str]
    detached: list[str]
    dropped: list[str]
    deferred: list[str]
    behind: int = 0


class Detached(NamedTuple):
    """A partition that is out of use, and the time at which it was detached."""

    partition: str
    detached_at: datetime


def maintain(
    connection: Connection, now: datetime, retention: timedelta, *, grace: timedelta = GRACE, all_due: bool = False
) -> Upkeep:
    """
    Create the days from the retention's first to a week ahead, detach earlier ones, and drop those detached for the grace time.

    `now` is Postgres' time. The cut-off moves one day at a time, unless `all_due`. The connection is in autocommit mode.
    """
    with _upkeep_lock(connection):
        upkeep = _make(connection, now, retention)
        wanted = _midnight(now.date() - retention)
        existing = sorted(partitions(connection), key=day_of)
        first = _midnight(day_of(existing[0])) if existing else None
        cutoff = cutoffs.advance(connection, "days", wanted, now, first=first, all_due=all_due)
        for partition in existing:
            if day_of(partition) < cutoff.date():
                gone = _detach(connection, partition, now)
                (upkeep.detached if gone else upkeep.deferred).append(partition)
        upkeep.dropped.extend(_drop_detached(connection, now - grace))
        return upkeep._replace(behind=max(0, (wanted - cutoff).days))


def make_days(connection: Connection, now: datetime, retention: timedelta) -> Upkeep:
    """Create the days from the retention's first to a week ahead, on a connection in autocommit mode."""
    with _upkeep_lock(connection):
        return _make(connection, now, retention)


def partitions(connection: Connection) -> list[str]:
    """Return the partitions of the daily tables."""
    rows = connection.execute(
        """select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = any(array(select to_regclass(t) from unnest(%s::text[]) t))""",
        ([*DAILY],),
    )
    return [row[0] for row in rows]


async def has_day(connection: AsyncConnection, day: date) -> bool:
    """Report whether every daily table has a partition for the day."""
    wanted = [name(table, day) for table in DAILY]
    query = "select count(*) from pg_inherits where inhrelid = any(array(select to_regclass(t) from unnest(%s::text[]) t))"
    row = await (await connection.execute(query, (wanted,))).fetchone()
    return row is not None and row[0] == len(wanted)


def detached(connection: Connection) -> list[Detached]:
    """Return the detached days that are not dropped yet, oldest first."""
    rows = connection.execute("select partition, detached_at from detached_partitions order by right(partition, 8), partition")
    return [Detached(*row) for row in rows]


def name(table: str, day: date) -> str:
    """Return the name of the partition, such as `outbox_20261124`, from which `day_of` reads the day."""
    return f"{table}_{day:%Y%m%d}"


def table_of(partition: str) -> str:
    return partition.rpartition("_")[0]


def day_of(partition: str) -> date:
    return date.fromisoformat(partition.rpartition("_")[2])


@contextmanager
def _upkeep_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock of the upkeep, so that one process at a time does it."""
    connection.execute("select pg_advisory_lock(%s)", (Lock.PARTITIONS,))
    try:
        yield
    finally:
        connection.execute("select pg_advisory_unlock(%s)", (Lock.PARTITIONS,))


def _make(connection: Connection, now: datetime, retention: timedelta) -> Upkeep:
    """Create the missing days, and restore detached ones. A day that cannot be restored raises its error after all others."""
    upkeep = Upkeep([], [], [], [], [])
    existing = {*partitions(connection)}
    detached_names = {each.partition for each in detached(connection)}
    due = {name(table, day): (table, day) for table, day in _due(now.date(), now.date() - retention)}
    for partition in [partition for partition in due if partition not in existing | detached_names]:
        _create(connection, *due[partition])
        upkeep.created.append(partition)
    failures: list[psycopg.Error] = []
    for partition in [partition for partition in due if partition in detached_names]:
        try:
            _restore(connection, *due[partition])
        except psycopg.Error as error:
            failures.append(error)
        else:
            upkeep.restored.append(partition)
    if failures:
        raise failures[0]
    return upkeep


def _due(today: date, oldest: date) -> Iterator[tuple[str, date]]:
    first = max(oldest, EPOCH.date())  # by a clock that was never set
    for table in DAILY:
        for offset in range((today - first).days + DAYS_AHEAD + 1):
            yield table, first + timedelta(days=offset)


def _create(connection: Connection, table: str, day: date) -> None:
    """
    Create the table first, then attach it.

    CREATE TABLE … PARTITION OF locks the whole table: while it waits for a long reader, intake would wait behind it. ATTACH
    does not.
    """
    connection.execute("select day_create(%s, %s, %s, %s)", (table, day, *_bounds(day)))


def _restore(connection: Connection, table: str, day: date) -> None:
    with connection.transaction():
        connection.execute("select day_restore(%s, %s, %s, %s)", (table, day, *_bounds(day)))
        connection.execute("delete from detached_partitions where partition = %s", (name(table, day),))


def _bounds(day: date) -> tuple[UUID, UUID]:
    return first_id_of(day), first_id_of(day + timedelta(days=1))


_PENDING: Final = "select exists (select from outbox_pending where event_id >= %s and event_id < %s)"


class _StillNeededError(Exception):
    """Events of the day wait for Kafka, or are parked."""


def _expect_unneeded(connection: Connection, partition: str) -> None:
    """
    Raise _StillNeededError if rows of that day still wait for Kafka, or are parked.

    They would be lost with their log, and without the marks of their day no worker could handle them.
    """
    if table_of(partition) == "audit_log":
        return
    row = connection.execute(_PENDING.encode(), _bounds(day_of(partition))).fetchone()
    if row is not None and row[0]:
        raise _StillNeededError


def _detach(connection: Connection, partition: str, now: datetime) -> bool:
    """Detach a day; return False if another session reads it, or events of it are pending."""

    def detach() -> None:
        connection.execute("select day_detach(%s, %s)", (table_of(partition), day_of(partition)))
        # Nothing can be added to the log while this transaction has its lock, so intake waits for this check: with millions of
        # events that wait for Kafka, the day is left for another run.
        connection.execute(sql.SQL("set local statement_timeout = {}").format(sql.Literal(_CHECK_TIMEOUT)))
        _expect_unneeded(connection, partition)
        connection.execute("insert into detached_partitions (partition, detached_at) values (%s, %s)", (partition, now))

    try:
        _expect_unneeded(connection, partition)  # without a lock, so that a day that is needed does not make intake wait
        return _change_with_short_waits(connection, detach)
    except (_StillNeededError, psycopg.errors.QueryCanceled):
        return False


def _drop_detached(connection: Connection, before: datetime) -> Iterator[str]:
    """Drop the days that were detached before; one that another session reads is left for the next run."""
    for partition in [each.partition for each in detached(connection) if each.detached_at <= before]:

        def drop(partition: str = partition) -> None:
            connection.execute("select day_drop(%s, %s)", (table_of(partition), day_of(partition)))
            connection.execute("delete from detached_partitions where partition = %s", (partition,))

        if _change_with_short_waits(connection, drop):
            yield partition


def _change_with_short_waits(connection: Connection, change: Callable[[], None]) -> bool:
    """Make the change in a transaction that waits only briefly for its locks; return False if no try got them."""
    for number in range(_TRIES):
        if number:
            sleep(_PAUSE)
        try:
            with connection.transaction():
                connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
                change()
        except psycopg.errors.LockNotAvailable:
            continue
        return True
    return False


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
