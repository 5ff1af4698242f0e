"""Days of the daily tables: made ahead, dropped whole when their time is over."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final, NamedTuple

import psycopg
from psycopg import Connection, sql

from outbox.tables import DAILY
from runtime.ids import first_id_of
from runtime.locks import Lock

DAYS_AHEAD: Final = 7
_GIVE_WAY: Final = "200ms"  # a DROP that waits for a lock makes intake wait behind it: rather try again later
# A provider's body is often a little over the 2 KB at which Postgres starts to compress and move values out: a tenth of the
# work of intake and relay, for little.
_STORAGE: Final = {"outbox": "with (toast_tuple_target = 8160)"}


class Upkeep(NamedTuple):
    """What one run did: names of the partitions, oldest first; `deferred` are due but still in use."""

    created: list[str]
    dropped: list[str]
    deferred: list[str]


def maintain(connection: Connection, today: date, retention: timedelta) -> Upkeep:
    """
    Make the partitions from the retention's first day to a week ahead, and drop those before it.

    The connection is in autocommit mode. Days within the retention are made too, so that replayed and late ids have a home.
    """
    connection.execute("select pg_advisory_lock(%s)", (Lock.PARTITIONS,))
    try:
        oldest = today - retention
        existing = set(partitions(connection))
        created = [_create(connection, table, day) for table, day in _due(today, oldest) if name(table, day) not in existing]
        upkeep = Upkeep(created, [], [])
        for partition in sorted(existing):
            if day_of(partition) < oldest:
                dropped = not _holds_pending(connection, partition) and _drop(connection, partition)
                (upkeep.dropped if dropped else upkeep.deferred).append(partition)
        return upkeep
    finally:
        connection.execute("select pg_advisory_unlock(%s)", (Lock.PARTITIONS,))


def partitions(connection: Connection) -> list[str]:
    """The partitions that exist, in the schema of the daily tables."""
    rows = connection.execute(
        """select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
           where i.inhparent = any(array(select to_regclass(t) from unnest(%s::text[]) t))""",
        ([table.name for table in DAILY],),
    )
    return [row[0] for row in rows]


def name(table: str, day: date) -> str:
    """`outbox_20261124`: the day is read back from it."""
    return f"{table}_{day:%Y%m%d}"


def day_of(partition: str) -> date:
    return date.fromisoformat(partition.rpartition("_")[2])


def _due(today: date, oldest: date) -> Iterator[tuple[str, date]]:
    for table in DAILY:
        for offset in range((today - oldest).days + DAYS_AHEAD + 1):
            yield table.name, oldest + timedelta(days=offset)


def _create(connection: Connection, table: str, day: date) -> str:
    """
    Make the table first, then attach it.

    CREATE TABLE … PARTITION OF wants the whole table for itself: while it waits for a long reader, intake would wait behind it.
    ATTACH does not.
    """
    partition = name(table, day)
    made, parent = sql.Identifier(partition), sql.Identifier(table)
    bounds = (sql.Literal(str(first_id_of(day))), sql.Literal(str(first_id_of(day + timedelta(days=1)))))
    with connection.transaction():
        storage = sql.SQL(_STORAGE.get(table, ""))
        connection.execute(sql.SQL("create table {} (like {} including all) {}").format(made, parent, storage))
        connection.execute(
            sql.SQL("alter table {} attach partition {} for values from ({}) to ({})").format(parent, made, *bounds)
        )
    return partition


def _holds_pending(connection: Connection, partition: str) -> bool:
    """Whether rows of that day still wait for Kafka, or are parked: they would be lost with it."""
    day = day_of(partition)
    bounds = (first_id_of(day), first_id_of(day + timedelta(days=1)))
    query = "select exists (select from outbox_pending where event_id >= %s and event_id < %s)"
    row = connection.execute(query, bounds).fetchone()
    return partition.startswith("outbox_") and row is not None and bool(row[0])


def _drop(connection: Connection, partition: str) -> bool:
    try:
        with connection.transaction():
            connection.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(_GIVE_WAY)))
            connection.execute(sql.SQL("drop table {}").format(sql.Identifier(partition)))
    except psycopg.errors.LockNotAvailable:
        return False
    return True
