"""Reads over the delivery log and the tables that an event passes through, behind verbs."""

from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, Select, Text, and_, case, exists, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from operations.deliveries.query import Query
from operations.deliveries.settled import settled
from outbox.pages import PAGE_BYTES, cut
from outbox.tables import consumed, dead_letters, outbox, outbox_pending, webhook_deliveries
from runtime.ids import time_of

State = Literal["pending", "parked", "relayed", "stored"]

_JOURNEY_MAX: Final = 100  # events; one webhook causes a handful


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


async def deliveries(connection: AsyncConnection, query: Query) -> tuple[list[Delivery], bool]:
    """A page, newest first, and whether there is more. What a sender puts into headers and type may be large."""
    log = webhook_deliveries
    size = _length(log.c.headers.cast(Text)) + _length(log.c.type) + _length(log.c.provider_event_id)
    page = (
        _deliveries()
        .add_columns(size.label("size"))
        .where(log.c.id >= query.first, log.c.id < query.before, *_filters(query))
        .order_by(log.c.id.desc())
        .limit(query.limit + 1)
        .subquery()
    )
    order = page.c.id.desc()
    sums = func.sum(page.c.size).over(order_by=order).label("total"), func.row_number().over(order_by=order).label("place")
    summed = select(page, *sums).subquery()
    fitting = or_(summed.c.total - summed.c.size <= PAGE_BYTES, summed.c.place == 2)  # noqa: PLR2004  # see `outbox/pages.py`
    rows = await connection.execute(select(summed).where(fitting).order_by(summed.c.place))
    return cut([(_delivery(row), row.total) for row in rows], query.limit)


async def delivery(connection: AsyncConnection, delivery_id: UUID) -> Delivery | None:
    row = (await connection.execute(_deliveries().where(webhook_deliveries.c.id == delivery_id))).one_or_none()
    return _delivery(row) if row else None


async def body(connection: AsyncConnection, delivery_id: UUID) -> bytes | None:
    """The bytes as they came: a rejected delivery has its own, every other one shares those of its event."""
    log = webhook_deliveries
    own = (
        select(func.coalesce(log.c.body, outbox.c.data))
        .select_from(log.outerjoin(outbox, outbox.c.id == log.c.event_id))
        .where(log.c.id == delivery_id)
    )
    found: bytes | None = (await connection.execute(own)).scalar_one_or_none()
    return found


async def journey(connection: AsyncConnection, event_id: UUID) -> Journey:
    """The event and what it caused."""
    # Ids are time-ordered, so what was caused has a later id: the condition keeps older partitions out of the search.
    chain = select(outbox.c.id).where(outbox.c.id == event_id).cte("chain", recursive=True)
    chain = chain.union(select(outbox.c.id).where(outbox.c.causation_id == chain.c.id, outbox.c.id > event_id))
    stations = await _stations(connection, select(chain.c.id).order_by(chain.c.id).limit(_JOURNEY_MAX))
    first = next((station for station in stations if station.id == event_id), None)
    return Journey(first, [station for station in stations if station.id != event_id])


def _length(text: ColumnElement[Any]) -> ColumnElement[int]:
    return func.coalesce(func.octet_length(text), 0)


def _deliveries() -> Select[Any]:
    log = webhook_deliveries
    return select(
        log.c.id,
        log.c.source,
        log.c.outcome,
        log.c.trace_id,
        log.c.provider_event_id.label("event_id"),
        log.c.event_id.label("ce_id"),
        log.c.type,
        log.c.reason,
        log.c.secret_id,
        log.c.client,
        log.c.headers,
        log.c.recovered_as,
        log.c.livemode,
        log.c.account,
    )


def _filters(query: Query) -> list[ColumnElement[bool]]:
    asked = {
        webhook_deliveries.c.source: query.source,
        webhook_deliveries.c.type: query.type,
        webhook_deliveries.c.outcome: query.outcome,
        webhook_deliveries.c.reason: query.reason,
        webhook_deliveries.c.livemode: query.livemode,
        webhook_deliveries.c.account: query.account,
        webhook_deliveries.c.trace_id: query.trace_id,
    }
    found = [column == value for column, value in asked.items() if value is not None]
    return [*found, settled(query.settled)] if query.settled else found


def _delivery(row: Row[Any]) -> Delivery:
    columns = {name: value for name, value in row._mapping.items() if name not in {"size", "total", "place"}}  # noqa: SLF001  # SQLAlchemy's public name for it
    return Delivery(received_at=time_of(row.id), **columns)


async def _stations(connection: AsyncConnection, ids: Select[Any]) -> list[Station]:
    rows = (await connection.execute(_station_rows(ids))).all()
    found = [row.id for row in rows]
    marks = select(consumed.c.event_id, consumed.c.consumer).where(consumed.c.event_id.in_(found)).order_by(consumed.c.consumer)
    consumers = [tuple(row) for row in await connection.execute(marks)]
    letters = select(
        dead_letters.c.event_id, dead_letters.c.id, dead_letters.c.consumer, dead_letters.c.reason, dead_letters.c.status
    ).where(dead_letters.c.event_id.in_(found))
    aside = [tuple(row) for row in await connection.execute(letters)]
    return [
        Station(
            **row._mapping,  # noqa: SLF001  # SQLAlchemy's public name for it
            consumed_by=[consumer for event_id, consumer in consumers if event_id == row.id],
            dead_letters=[StoreSetAside(*letter) for event_id, *letter in aside if event_id == row.id],
        )
        for row in rows
    ]


def _station_rows(ids: Select[Any]) -> Select[Any]:
    ignored = exists().where(and_(webhook_deliveries.c.id == outbox.c.id, webhook_deliveries.c.outcome == literal("ignored")))
    state = case(
        (outbox_pending.c.parked_at.is_not(None), "parked"),
        (outbox_pending.c.id.is_not(None), "pending"),
        (ignored, "stored"),
        else_="relayed",
    )
    return (
        select(
            outbox.c.id,
            outbox.c.topic,
            outbox.c.aggregate_id.label("key"),
            outbox.c.type,
            outbox.c.occurred_at,
            outbox.c.causation_id,
            state.label("state"),
            outbox_pending.c.reason.label("parked_reason"),
        )
        .select_from(outbox.outerjoin(outbox_pending, outbox_pending.c.event_id == outbox.c.id))
        .where(outbox.c.id.in_(ids))
        .order_by(outbox.c.id)
    )
