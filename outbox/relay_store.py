"""The relay's SQL. Synchronous: the relay is one loop in one thread, and waits for one thing at a time."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import psycopg
import structlog
from psycopg import ClientCursor, Connection

from outbox.append import APPEND, columns_of
from outbox.shards import SHARDS
from runtime.database import UNAVAILABLE
from runtime.excerpts import described
from runtime.ids import time_of
from schemas.envelope import Event

log = structlog.get_logger()

UNREADABLE: Final = "row_unreadable"
"""The values of the row do not form a record."""
MISSING: Final = "event_missing"
"""The log holds no event for the row."""


class PendingRow(NamedTuple):
    """One row of the work list with its event."""

    id: int
    event: Event


class Room(NamedTuple):
    """The bounds of one read, in rows and in bytes of their data; a row that is larger is read alone."""

    rows: int
    size: int


class UnreadableRow(NamedTuple):
    """
    A row of the work list that yields no event.

    `reason` is `event_missing` where the log has no such event, else `row_unreadable`; `topic` is None where it is missing.
    """

    id: int
    event_id: UUID
    topic: str | None
    reason: str
    detail: str


class Pending(NamedTuple):
    """The rows to send, and those that cannot be sent."""

    rows: list[PendingRow]
    unreadable: list[UnreadableRow]


class Depth(NamedTuple):
    """The number of pending rows, the time of the oldest (of those that are sent for the first time), and the number parked."""

    pending: int
    oldest: datetime | None
    parked: int


class ParkedRow(NamedTuple):
    id: int
    event_id: UUID
    parked_at: datetime
    reason: str


# The narrow list is read first, so that rows in flight are skipped without reading a wide row. The shards are bits of one
# number: a list of them would be compared one by one with each row that another relay has to send. Parked rows are passed
# over in 0.25 ms a thousand; a partial index without them would add 40 % to the WAL that each event's row writes, and a tenth
# to the time of its insert.
_NEXT: Final = """
select array_agg(id order by id)::text, array_agg(event_id order by id)::text, array_agg(replay_id order by id)::text
from (select id, event_id, replay_id from outbox_pending
      where (%t::int8 >> shard) & 1 = 1 and parked_at is null and id <> all(%t::int8[]) order by id limit %t) p
"""
_FEW: Final = 50
"""Ids that Postgres compares one by one. It hashes a longer list, but only if the list is part of the statement's text."""
# Planning for all days of the log takes Postgres as long as reading 200 rows of it, so this is planned once. The first and the
# last id keep it from opening days that have none of the rows; `offset 0` keeps it from reading, for each row, everything
# between these two ids. Postgres knows the size of large data without fetching it, so data beyond the room is never fetched.
_READ: Final = """
with r as (
  select p.id as place, p.replay_id, o.*, coalesce(octet_length(o.data), 0) as size,
         sum(coalesce(octet_length(o.data), 0)) over (order by p.id rows unbounded preceding) as total
  from unnest(%t::int8[], %t::uuid[], %t::uuid[]) as p(id, event_id, replay_id)
  left join lateral (select * from outbox where id = p.event_id and id between %t::uuid and %t::uuid offset 0) o on true)
select place, replay_id, id, topic, aggregate_id, source, type, dataschema, occurred_at, traceparent, causation_id, data,
       livemode, account, endpoint
from r where total <= %b::int8 or total = size order by place
"""
# The same rows with columns that can always be read; the rows are then read one by one, to find those that cannot be.
_LIST: Final = """
with r as (
  select p.id as place, p.event_id, o.topic, coalesce(octet_length(o.data), 0) as size,
         sum(coalesce(octet_length(o.data), 0)) over (order by p.id rows unbounded preceding) as total
  from unnest(%t::int8[], %t::uuid[], %t::uuid[]) as p(id, event_id, replay_id)
  left join lateral (select * from outbox where id = p.event_id and id between %t::uuid and %t::uuid offset 0) o on true)
select place, event_id, topic from r where total <= %b::int8 or total = size order by place
"""
_READ_ONE: Final = """
select p.id, p.replay_id, o.id, o.topic, o.aggregate_id, o.source, o.type, o.dataschema,
       o.occurred_at, o.traceparent, o.causation_id, o.data, o.livemode, o.account, o.endpoint
from outbox_pending p join outbox o on o.id = p.event_id where p.id = %b
"""
_DELETE: Final = "delete from outbox_pending where id = any(%t::int8[])"
_PARK: Final = "update outbox_pending set parked_at = now(), reason = %s where id = %s"
_UNPARK: Final = (
    "update outbox_pending set parked_at = null, reason = null where parked_at is not null and id = any(%s) returning id"
)
_PARKED: Final = "select id, event_id, parked_at, reason from outbox_pending where parked_at is not null order by id"
_DEPTH: Final = """
select count(*) filter (where parked_at is null), count(*) filter (where parked_at is not null),
       (select event_id from outbox_pending where parked_at is null and replay_id is null order by id limit 1)
from outbox_pending
"""


def read_pending(connection: Connection, shards: Sequence[int], in_flight: Collection[int], room: Room) -> Pending:
    """Read the oldest rows of the shards that are neither parked nor in flight, in the order in which they must be sent."""
    if not shards:  # Postgres would read a whole backlog in vain, and end the session if that took longer than the lease
        return Pending([], [])
    asked = (_bits(shards), _array(in_flight), room.rows)
    few = len(in_flight) <= _FEW
    cursor = connection.cursor() if few else ClientCursor(connection)
    found = cursor.execute(_NEXT, asked, prepare=few).fetchone()
    if found is None or found[0] is None:
        return Pending([], [])
    event_ids = found[1].strip("{}").split(",")
    values = (*found, min(event_ids), max(event_ids), room.size)
    try:
        rows = connection.cursor(binary=True).execute(_READ, values, prepare=True).fetchall()
    except Exception as error:
        if not _is_of_a_row(error):
            raise
        log.warning("batch_unreadable", reason=UNREADABLE, error=described(error))
        return _read_one_by_one(connection, values)
    if any(row[2] is None for row in rows):
        return _read_one_by_one(connection, values)
    return Pending([_row_of(row) for row in rows], [])


def _read_one_by_one(connection: Connection, values: tuple[object, ...]) -> Pending:
    pending = Pending([], [])
    for row_id, event_id, topic in connection.cursor(binary=True).execute(_LIST, values).fetchall():
        if topic is None:
            detail = "the log holds no event of this id"
            pending.unreadable.append(UnreadableRow(row_id, event_id, None, MISSING, detail))
            continue
        try:
            found = connection.cursor(binary=True).execute(_READ_ONE, (row_id,)).fetchone()
        except Exception as error:
            if not _is_of_a_row(error):
                raise
            pending.unreadable.append(UnreadableRow(row_id, event_id, topic, UNREADABLE, described(error)))
        else:
            pending.rows.extend([_row_of(found)] if found else [])
    return pending


def _is_of_a_row(error: Exception) -> bool:
    """Report whether the error is due to a value of a row that the driver cannot read, not to Postgres or a lack of memory."""
    if isinstance(error, psycopg.Error):
        return isinstance(error, psycopg.DataError) or (error.sqlstate is not None and not isinstance(error, UNAVAILABLE))
    return not isinstance(error, MemoryError | OSError)


def _row_of(row: tuple[Any, ...]) -> PendingRow:
    event = Event(
        replay_id=row[1],
        id=row[2],
        topic=row[3],
        aggregate_id=row[4],
        source=row[5],
        type=row[6],
        dataschema=row[7],
        occurred_at=row[8],
        traceparent=row[9],
        causation_id=row[10],
        data=row[11],
        livemode=row[12],
        account=row[13],
        endpoint=row[14],
    )
    return PendingRow(row[0], event)


def _bits(shards: Sequence[int]) -> int:
    """Return the shards as the bits of a signed 64-bit number."""
    bits = sum(1 << shard for shard in shards)
    return bits - (1 << SHARDS) if bits >> (SHARDS - 1) else bits


def _array(ids: Collection[int]) -> str:
    """Return an array as Postgres reads it; psycopg's own dumper takes a microsecond a number, which would slow the relay."""
    return "{" + ",".join(map(str, ids)) + "}"


def delete(connection: Connection, ids: Sequence[int]) -> None:
    """Delete rows that Kafka has acknowledged."""
    connection.execute(_DELETE, (_array(ids),), prepare=True)


def park(connection: Connection, row_id: int, reason: str, alert: Event | None) -> None:
    """Park a row and append the alert, if there is one, in one transaction; a row that is gone meanwhile needs neither."""
    with connection.transaction():
        if connection.execute(_PARK, (reason, row_id)).rowcount and alert:
            connection.execute(APPEND, columns_of([alert]))


def parked(connection: Connection) -> list[ParkedRow]:
    return [ParkedRow(*row) for row in connection.execute(_PARKED)]


def unpark(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Make parked rows pending again, and return the ids of those that were parked."""
    return [row[0] for row in connection.execute(_UNPARK, (ids,))]


def depth(connection: Connection) -> Depth:
    """Count the rows that wait. Raises QueryCanceled where there are too many for the statement timeout of the connection."""
    with connection.transaction():
        connection.execute("set local enable_seqscan = on")  # this reads all rows, which the relay's other statements never do
        row = cast("tuple[Any, ...]", connection.execute(_DEPTH).fetchone())
    return Depth(row[0], time_of(row[2]) if row[2] else None, row[1])
