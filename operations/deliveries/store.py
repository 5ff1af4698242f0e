"""Reads over the delivery log and the tables that an event passes through, behind verbs."""

from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from operations.deliveries.query import DeliveriesQuery
from operations.ledger.states import condition
from outbox.pages import PAGE_BYTES, cut
from runtime.ids import time_of

State = Literal["pending", "parked", "relayed", "stored"]

_JOURNEY_MAX: Final = 100  # events; one webhook causes a handful

_COLUMNS: Final = """d.id, d.source, d.outcome, d.trace_id, d.provider_event_id as event_id, d.event_id as ce_id, d.type,
  d.reason, d.secret_id, d.client, d.headers, d.recovered_as, d.livemode, d.account, d.endpoint"""
# The sender decides how large the headers, the type and the id are; see `outbox/pages.py`.
_PAGE: Final = f"""
with page as (
  select {_COLUMNS}, coalesce(octet_length(d.headers::text), 0) + coalesce(octet_length(d.type), 0)
    + coalesce(octet_length(d.provider_event_id), 0) as size
  from webhook_deliveries d where d.id >= %(first)s and d.id < %(before)s {{where}} order by d.id desc limit %(limit)s),
summed as (select *, sum(size) over w as total, row_number() over w as place from page window w as (order by id desc))
select * from summed where total - size <= %(bytes)s or place = 2 order by place
"""
_ONE: Final = f"select {_COLUMNS} from webhook_deliveries d where d.id = %s"
_BODY: Final = """
select coalesce(d.body, o.data) from webhook_deliveries d left join outbox o on o.id = d.event_id where d.id = %s
"""
# Ids are time-ordered, so what was caused has a later id: the condition keeps older partitions out of the search.
_JOURNEY: Final = """
with recursive chain as (
  select id from outbox where id = %(id)s
  union select o.id from outbox o join chain on o.causation_id = chain.id where o.id > %(id)s),
found as (select id from chain order by id limit %(limit)s)
select o.id, o.topic, o.aggregate_id as key, o.type, o.occurred_at, o.causation_id, p.reason as parked_reason,
  case when p.parked_at is not null then 'parked' when p.id is not null then 'pending'
       when exists (select from webhook_deliveries d where d.id = o.id and d.outcome = 'ignored') then 'stored'
       else 'relayed' end as state,
  array(select consumer from consumed c where c.event_id = o.id order by consumer) as consumed_by,
  coalesce((select jsonb_agg(jsonb_build_object('id', l.id, 'consumer', l.consumer, 'reason', l.reason, 'status', l.status))
    from dead_letters l where l.event_id = o.id), '[]') as dead_letters
from found join outbox o on o.id = found.id left join outbox_pending p on p.event_id = o.id order by o.id
"""


class Delivery(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One call of a provider or partner."""

    id: UUID  #: The id of the delivery.
    source: str  #: A provider, such as `stripe`, or `partner`.
    outcome: str  #: `accepted`, `duplicate`, `ignored` or `rejected`.
    received_at: datetime  #: When the call arrived.
    trace_id: str  #: The trace of the call, as in its `X-Trace-Id`.
    event_id: str | None = None  #: The provider's id of the event; absent if unreadable.
    ce_id: UUID | None = None  #: Our id of the event; for a duplicate, that of the original.
    type: str | None = None  #: The provider's type of the event; absent if unreadable.
    reason: str | None = None  #: Why it was rejected or ignored; absent otherwise.
    secret_id: str | None = None  #: The public id of the secret that verified it; absent if none did.
    client: str | None = None  #: The caller's address.
    headers: dict[str, str] | None = None  #: Headers of the call that were kept.
    recovered_as: UUID | None = None  #: The delivery that a replay made of this rejected one; absent if none did.
    livemode: bool | None = None  #: False if no real money moves; absent if the provider does not state it.
    account: str | None = None  #: The provider's account; absent if the provider names none.
    endpoint: str | None = None  #: The provider's endpoint by which it came; absent for the plain path.


class StoreSetAside(msgspec.Struct, frozen=True, rename="camel"):
    """A dead letter of an event."""

    id: UUID  #: The id of the dead letter.
    consumer: str  #: The worker role that could not handle the event.
    reason: str  #: The stable word for the error.
    status: str  #: `open`, `retried` or `discarded`.


class Station(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An event on its way."""

    id: UUID  #: The event's id (`ce_id`).
    topic: str  #: The event's topic.
    key: str  #: The record key: the aggregate's id.
    type: str  #: The event's type.
    occurred_at: datetime  #: When it happened.
    state: State
    """`pending` before Kafka has it, `relayed` after, `parked` if Kafka refused it for good, `stored` until a replay sends it."""
    causation_id: UUID | None = None  #: The event that caused it.
    parked_reason: str | None = None  #: Why Kafka refused it; absent otherwise.
    consumed_by: list[str] = []  #: The worker roles that have handled it.
    dead_letters: list[StoreSetAside] = []  #: The dead letters of the event.


class Journey(msgspec.Struct, frozen=True):
    """The way of an event through the system."""

    event: Station | None  #: The event of the delivery; null after its retention.
    caused: list[Station] = []  #: The events that it caused, directly or not, oldest first.


async def deliveries(
    connection: AsyncConnection, query: DeliveriesQuery, first: UUID, before: UUID
) -> tuple[list[Delivery], bool]:
    """A page of those with `first` <= id < `before`, newest first, and whether there is more."""
    columns = query.columns()
    conditions: list[sql.Composable] = [
        sql.SQL("and d.{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in columns
    ]
    if query.settled:
        conditions.append(sql.SQL(f"and {condition(query.settled)}"))
    values = {**columns, "first": first, "before": before, "limit": query.limit + 1, "bytes": PAGE_BYTES}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql.SQL(_PAGE).format(where=sql.SQL(" ").join(conditions)), values, prepare=False)
        rows = await cursor.fetchall()
    return cut([(_delivery(row), row["total"]) for row in rows], query.limit)


async def delivery(connection: AsyncConnection, delivery_id: UUID) -> Delivery | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(_ONE, (delivery_id,))).fetchone()
    return _delivery(row) if row else None


async def body(connection: AsyncConnection, delivery_id: UUID) -> bytes | None:
    """The bytes as they came: a rejected delivery has its own, every other one shares those of its event."""
    row = await (await connection.execute(_BODY, (delivery_id,))).fetchone()
    return row[0] if row else None


async def journey(connection: AsyncConnection, event_id: UUID) -> Journey:
    """The event and what it caused, all of it at one moment."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_JOURNEY, {"id": event_id, "limit": _JOURNEY_MAX})
        rows = await cursor.fetchall()
    stations = [Station(**row | {"dead_letters": msgspec.convert(row["dead_letters"], list[StoreSetAside])}) for row in rows]
    first = next((station for station in stations if station.id == event_id), None)
    return Journey(first, [station for station in stations if station.id != event_id])


def _delivery(row: dict[str, Any]) -> Delivery:
    columns = {name: value for name, value in row.items() if name not in {"size", "total", "place"}}
    return Delivery(received_at=time_of(row["id"]), **columns)
