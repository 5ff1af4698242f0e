"""The relay's SQL, behind verbs. Synchronous: the relay is one loop in one thread, and waits for one thing at a time."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from psycopg import Connection

from outbox.append import APPEND, NewEvent, columns_of
from runtime.ids import time_of
from schemas.envelope import Envelope


class PendingRow(NamedTuple):
    """One row of the work list with the event it stands for."""

    id: int
    topic: str
    event: Envelope


class Room(NamedTuple):
    """How much is read at once, in rows and in bytes of their data; a row that is larger than that comes alone."""

    rows: int
    size: int


class Depth(NamedTuple):
    """How much waits for Kafka, since when (by the ids of events that go their first way), and how much is parked."""

    pending: int
    oldest: datetime | None
    parked: int


class ParkedRow(NamedTuple):
    id: int
    event_id: UUID
    parked_at: datetime
    reason: str


# The narrow list is read first and the log joined to it: what is in flight is skipped without touching a wide row. Postgres
# knows how large data is without fetching it from where it keeps what is large, so what is beyond the room is never looked at.
_READ: Final = """
with p as materialized (
  select id, event_id, replay_id from outbox_pending
  where shard = any(%b::int2[]) and parked_at is null and id <> all(%t::int8[]) order by id limit %b),
r as (
  select p.id as place, p.replay_id, o.*, octet_length(o.data) as size,
         sum(octet_length(o.data)) over (order by p.id rows unbounded preceding) as total
  from p join outbox o on o.id = p.event_id)
select place, replay_id, id, topic, aggregate_id, source, type, dataschema, occurred_at, traceparent, causation_id, data
from r where total <= %b::int8 or total = size order by place
"""
_FORGET: Final = "delete from outbox_pending where id = any(%t::int8[])"
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


def read_pending(connection: Connection, shards: Sequence[int], in_flight: Collection[int], room: Room) -> list[PendingRow]:
    """The oldest rows of the shards that are neither parked nor in flight, in the order in which they must be sent."""
    cursor = connection.cursor(binary=True)
    rows = cursor.execute(_READ, (list(shards), _array(in_flight), room.rows, room.size), prepare=True).fetchall()
    return [
        PendingRow(
            row[0],
            row[3],
            Envelope(
                replay_id=row[1],
                id=row[2],
                subject=row[4],
                source=row[5],
                type=row[6],
                dataschema=row[7],
                time=row[8],
                traceparent=row[9],
                causation_id=row[10],
                data=row[11],
            ),
        )
        for row in rows
    ]


def _array(ids: Collection[int]) -> str:
    """An array as Postgres reads it; psycopg's own dumper takes a microsecond a number, which the relay would feel."""
    return "{" + ",".join(map(str, ids)) + "}"


def forget(connection: Connection, ids: Sequence[int]) -> None:
    """Delete rows that Kafka has acknowledged."""
    connection.execute(_FORGET, (_array(ids),), prepare=True)


def park(connection: Connection, row_id: int, reason: str, alert: NewEvent | None) -> None:
    """Set a row aside and raise the alert, where there is one, in one transaction."""
    with connection.transaction():
        connection.execute(_PARK, (reason, row_id))
        if alert:
            connection.execute(APPEND, columns_of([alert]))


def parked(connection: Connection) -> list[ParkedRow]:
    return [ParkedRow(*row) for row in connection.execute(_PARKED)]


def unpark(connection: Connection, ids: Sequence[int]) -> list[int]:
    """Put parked rows back in their place; returns those that were parked."""
    return [row[0] for row in connection.execute(_UNPARK, (ids,))]


def depth(connection: Connection) -> Depth:
    row = cast("tuple[Any, ...]", connection.execute(_DEPTH).fetchone())
    return Depth(row[0], time_of(row[2]) if row[2] else None, row[1])
