"""The journey of events through outbox, Kafka and workers, and the tree of their causes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from outbox.clock import first_consequence_of
from runtime.tracing import trace_id_of

State = Literal["pending", "parked", "relayed", "stored"]

CAUSED_MAX: Final = 100  # events; one webhook causes a handful
_CAUSES_MAX: Final = 20

# Ids are time-ordered: the condition excludes older partitions from the search.
_CAUSED: Final = """
with recursive chain as (
  select id from outbox where id = %(id)s
  union select o.id from outbox o join chain on o.causation_id = chain.id where o.id >= %(since)s)
select id from chain order by id limit %(limit)s
"""
_CAUSES: Final = """
with recursive chain as (
  select causation_id as id, 1 as depth from outbox where id = %(id)s and causation_id is not null
  union select o.causation_id, chain.depth + 1 from outbox o join chain on o.id = chain.id
  where o.causation_id is not null and chain.depth < %(limit)s)
select id from chain order by depth desc
"""
_STATIONS: Final = """
select o.id, o.topic, o.aggregate_id as key, o.type, o.source, o.occurred_at, o.causation_id, o.traceparent,
  p.reason as parked_reason,
  case when p.parked_at is not null then 'parked' when p.id is not null then 'pending'
       when exists (select from webhook_deliveries d where d.id = o.id and d.outcome = 'ignored') then 'stored'
       else 'relayed' end as state,
  coalesce((select jsonb_agg(jsonb_build_object('consumer', c.consumer, 'at', c.at) order by c.consumer)
    from consumed c where c.event_id = o.id), '[]') as marks,
  coalesce((select jsonb_agg(jsonb_build_object('id', l.id, 'consumer', l.consumer, 'reason', l.reason, 'status', l.status,
      'setAsideAt', l.created_at, 'partition', l.partition, 'offset', l."offset") order by l.id)
    from dead_letters l where l.event_id = o.id), '[]') as dead_letters
from unnest(%s::uuid[]) with ordinality as f(id, n) join outbox o on o.id = f.id
  left join outbox_pending p on p.event_id = o.id order by f.n
"""


class EventDeadLetter(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A dead letter of an event."""

    id: UUID  #: The id of the dead letter.
    consumer: str  #: The worker role that could not handle the event.
    reason: str  #: The stable word for the error.
    status: str  #: `open`, `retried` or `discarded`.
    set_aside_at: datetime | None = None  #: When it was recorded as a dead letter.
    partition: int | None = None  #: The partition of the event's record.
    offset: int | None = None  #: The offset of the event's record; absent if Kafka has lost it and another is there.


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The mark of a worker that has handled an event."""

    consumer: str  #: The worker role.
    at: datetime | None = None  #: When the transaction of the effects began; absent for marks of releases that did not store it.


class Station(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An event on its way."""

    id: UUID  #: The event's id (`ce_id`).
    topic: str  #: The event's topic.
    key: str  #: The record key: the aggregate's id.
    type: str  #: The event's type.
    occurred_at: datetime  #: When it happened.
    state: State
    """`pending` before Kafka has it, `relayed` after, `parked` if Kafka refused it for good, `stored` until a replay sends it."""
    source: str  #: The part of the system that the event is from (`ce_source`).
    trace_id: str | None = None  #: The trace of the event; absent if it has none.
    causation_id: UUID | None = None  #: The event that caused it.
    parked_reason: str | None = None  #: Why Kafka refused it; absent otherwise.
    consumed_by: list[str] = []  #: The worker roles that have handled it.
    marks: list[Mark] = []  #: The marks of these roles, with their times.
    dead_letters: list[EventDeadLetter] = []  #: The dead letters of the event.


class Journey(msgspec.Struct, frozen=True):
    """The journey of an event through the system."""

    event: Station | None  #: The event of the delivery; null after its retention.
    caused: list[Station] = []  #: The events that it caused, directly or not, oldest first.


async def journey(connection: AsyncConnection, event_id: UUID) -> Journey:
    """Read the event and the first events that it caused; `CAUSED_MAX` + 1 of them mean that there are more."""
    ids = await _ids(connection, _CAUSED, event_id, CAUSED_MAX + 2)
    found = await _stations(connection, ids)
    first = next((station for station in found if station.id == event_id), None)
    return Journey(first, [station for station in found if station.id != event_id])


async def causes(connection: AsyncConnection, event_id: UUID) -> list[Station]:
    """Read the events that led to the event, the first cause first; those past retention are left out."""
    return await _stations(connection, await _ids(connection, _CAUSES, event_id, _CAUSES_MAX))


async def _ids(connection: AsyncConnection, statement: str, event_id: UUID, limit: int) -> list[UUID]:
    values = {"id": event_id, "since": first_consequence_of(event_id), "limit": limit}
    rows = await (await connection.execute(statement, values)).fetchall()
    return [row[0] for row in rows]


async def _stations(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Station]:
    """Read the events in one statement, in this order."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_STATIONS, (list(ids),))
        return [_station(**row) for row in await cursor.fetchall()]


def _station(*, marks: list[Any], dead_letters: list[Any], traceparent: str, **fields: Any) -> Station:
    found = msgspec.convert(marks, list[Mark])
    return Station(
        **fields,
        trace_id=trace_id_of(traceparent),
        marks=found,
        consumed_by=[mark.consumer for mark in found],
        dead_letters=msgspec.convert(dead_letters, list[EventDeadLetter]),
    )
