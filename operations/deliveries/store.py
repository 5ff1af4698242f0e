"""The SQL that reads the delivery log."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from operations.deliveries.query import DeliveriesQuery
from operations.ledger.states import condition
from outbox.pages import PAGE_BYTES, lowest_id, page_of
from runtime.ids import time_of

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
    recovered_as: UUID | None = None  #: The delivery as which a replay recovered this rejected one; absent if none did.
    livemode: bool | None = None  #: False if no real money moves; absent if the provider does not state it.
    account: str | None = None  #: The provider's account; absent if the provider names none.
    endpoint: str | None = None  #: The provider's endpoint by which it came; absent for the plain path.


async def deliveries(
    connection: AsyncConnection, query: DeliveriesQuery, first: UUID, before: UUID
) -> tuple[list[Delivery], UUID | None]:
    """Read a page of those with `first` <= id < `before`, newest first, and the id after which the next page begins, if any."""
    narrowed = bool(query.columns() or query.settled)
    floor = await lowest_id(connection, "webhook_deliveries", first, before) if narrowed else None
    statement, values = page(query, floor or first, before)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values, prepare=False)
        rows = await cursor.fetchall()
    found, more = page_of([(_delivery(row), row["total"]) for row in rows], query.limit)
    return found, found[-1].id if more else floor


def page(query: DeliveriesQuery, first: UUID, before: UUID) -> tuple[sql.Composed, dict[str, Any]]:
    """Return the statement that reads a page of the ids `first` <= id < `before`, and its parameters."""
    columns = query.columns()
    conditions: list[sql.Composable] = [
        sql.SQL("and d.{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in columns
    ]
    if query.settled:
        conditions.append(sql.SQL(f"and {condition(query.settled)}"))
    values = {**columns, "first": first, "before": before, "limit": query.limit + 1, "bytes": PAGE_BYTES}
    return sql.SQL(_PAGE).format(where=sql.SQL(" ").join(conditions)), values


async def delivery(connection: AsyncConnection, delivery_id: UUID) -> Delivery | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(_ONE, (delivery_id,))).fetchone()
    return _delivery(row) if row else None


async def body(connection: AsyncConnection, delivery_id: UUID) -> bytes | None:
    """Read the raw body: a rejected delivery has its own, every other one shares that of its event."""
    row = await (await connection.execute(_BODY, (delivery_id,))).fetchone()
    return row[0] if row else None


def _delivery(row: dict[str, Any]) -> Delivery:
    columns = {name: value for name, value in row.items() if name not in {"size", "total", "place"}}
    return Delivery(received_at=time_of(row["id"]), **columns)
