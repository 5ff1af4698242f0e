"""
Finds everything that an id names, by indexes alone.

A title contains no personal data. Erased rows are not found any more by ids or addresses that they have lost.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from operations.deliveries import store as deliveries
from operations.deliveries.query import DeliveriesQuery
from operations.find.query import FindQuery, Kind
from projections import lists
from projections.lists import ListQuery
from runtime.ids import first_id_of, is_time_ordered, time_of
from runtime.moments import EPOCH
from schemas.envelope import EARLIEST, LATEST
from schemas.providers import SOURCES
from schemas.text import TraceId, accepts

_ADMIN: Final = "/v1/admin"
_LINKS: Final[Mapping[Kind, str]] = {
    "delivery": f"{_ADMIN}/webhooks/deliveries/",
    "event": f"{_ADMIN}/events/",
    "payment": f"{_ADMIN}/payments/",
    "refund": f"{_ADMIN}/refunds/",
    "dispute": f"{_ADMIN}/disputes/",
    "subscription": f"{_ADMIN}/subscriptions/",
    "invoice": f"{_ADMIN}/invoices/",
    "lead": f"{_ADMIN}/leads/",
    "notification": f"{_ADMIN}/notifications/",
    "deadLetter": f"{_ADMIN}/dead-letters/",
    "replay": f"{_ADMIN}/replays/",
    "erasure": f"{_ADMIN}/erasures/",
    "task": "/internal/v1/tasks/",
    "contact": "/internal/v1/contacts/",
}
# Our ids match at most one row of each table, and of a daily table only one day is searched.
BY_OUR_ID: Final[Mapping[Kind, str]] = {
    "delivery": """
        select id, concat_ws(' ', source, type, outcome, reason) as title, null::timestamptz as at from webhook_deliveries
    """,
    "event": "select id, type as title, occurred_at as at from outbox",
    "lead": "select id, concat_ws(' ', partner_id, status) as title, received_at as at from leads",
    "notification": "select id, concat_ws(' ', channel, template, status) as title, updated_at as at from notifications",
    "task": "select id, concat_ws(' ', kind, status) as title, created_at as at from tasks",
    "deadLetter": "select id, concat_ws(' ', consumer, reason, status) as title, created_at as at from dead_letters",
    "replay": "select id, state as title, created_at as at from webhook_replays",
    "erasure": "select id, concat_ws(' ', kind, state) as title, created_at as at from erasures",
}
_MONEY: Final = "concat_ws(' ', provider, status, {amount}, currency) as title, updated_at as at"
BY_THEIR_ID: Final[Mapping[Kind, str]] = {
    "payment": f"select id, {_MONEY.format(amount='amount')} from payments where id = %(q)s",
    "refund": f"select id, {_MONEY.format(amount='amount')} from refunds where id = %(q)s",
    "dispute": f"select id, {_MONEY.format(amount='amount')} from disputes where id = %(q)s",
    "subscription": """
        select id, concat_ws(' ', provider, status) as title, updated_at as at from subscriptions where id = %(q)s
    """,
    "invoice": f"select id, {_MONEY.format(amount='amount_due')} from invoices where id = %(q)s",
    "event": """
        select event_id as id, concat_ws(' ', source, 'event') as title, null::timestamptz as at
        from dedup where source = any(%(sources)s) and provider_event_id = %(q)s
    """,
    "lead": """
        select id, concat_ws(' ', partner_id, status) as title, received_at as at
        from leads where external_lead_id = %(q)s order by id desc limit %(limit)s
    """,
    "contact": """
        select user_id as id, 'contact' as title, updated_at as at from contacts
        where user_id = %(q)s or email = any(array[%(q)s, lower(%(q)s)]) or phone = %(q)s order by user_id limit %(limit)s
    """,
}
BY_REFERENCE: Final = f"""
select id, {_MONEY.format(amount="amount")} from payments where reference = %(q)s and id <> reference
order by updated_at desc, id limit %(limit)s
"""
_ERASED: Final = "erased"
"""The recipient of a message that was erased."""
_USERS_MAX: Final = 3  # contacts whose payments and messages are searched for at most, since several may share an address


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A thing that the id names, or that belongs to the trace or the user that it names."""

    kind: Kind  #: The kind of the thing.
    id: str  #: Its id.
    title: str  #: Its state in a few words, without personal data.
    link: str  #: The path of this API that reads it.
    at: datetime | None = None  #: The time of its arrival, or of its last change; absent if unknown.


async def find(connection: AsyncConnection, query: FindQuery) -> list[Finding]:
    """Find everything that the id names, in the order of kinds, and then what belongs to it, newest first."""
    values = {"q": query.q, "sources": list(SOURCES), "limit": query.limit}
    own = _own_id(query.q)
    found = await _all(connection, BY_OUR_ID, {"id": own}, " where id = %(id)s") if own else []
    found += await _all(connection, BY_THEIR_ID, values)
    found += await _rows(connection, "payment", BY_REFERENCE, values)
    if accepts(TraceId, query.q.lower()):
        found += await _of_trace(connection, query)
    names = dict.fromkeys([query.q, *(each.id for each in found if each.kind == "contact")][: _USERS_MAX + 1])
    for name in names:
        found += await _of_user(connection, name, query.limit)
    once: dict[tuple[Kind, str], Finding] = {}
    for each in found:
        once.setdefault((each.kind, each.id), each)
    return list(once.values())[: query.limit]


def _own_id(text: str) -> UUID | None:
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if is_time_ordered(found) else None


async def _all(
    connection: AsyncConnection, statements: Mapping[Kind, str], values: dict[str, Any], end: str = ""
) -> list[Finding]:
    return [each for kind, statement in statements.items() for each in await _rows(connection, kind, statement + end, values)]


async def _rows(connection: AsyncConnection, kind: Kind, statement: str, values: dict[str, Any]) -> list[Finding]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        return [_finding(kind, **row) for row in await cursor.fetchall()]


async def _of_trace(connection: AsyncConnection, query: FindQuery) -> list[Finding]:
    """Find the deliveries of the trace, in the period that the delivery log searches for it."""
    asked = DeliveriesQuery(trace=query.q.lower(), limit=query.limit)
    rows, _ = await deliveries.deliveries(connection, asked, *asked.span(datetime.now(UTC)))
    return [_finding("delivery", row.id, " ".join(filter(None, (row.source, row.type, row.outcome, row.reason)))) for row in rows]


async def _of_user(connection: AsyncConnection, name: str, limit: int) -> list[Finding]:
    """Find the payments of a user, and the messages to a user or an address."""
    ever = ListQuery(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), limit, values={"user": name})
    payments = await lists.read(connection, lists.PAYMENTS, ever)
    by_id = ever._replace(first=first_id_of(EPOCH), before=UUID(int=(1 << 128) - 1))
    messages = await lists.read(connection, lists.NOTIFICATIONS, by_id)
    return [
        *(
            _finding(
                "payment",
                each.provider_payment_id,
                f"{each.provider} {each.status} {each.amount} {each.currency}",
                each.updated_at,
            )
            for each in payments.items
        ),
        *(
            _finding("notification", each.id, f"{each.channel} {each.template} {each.status}", each.updated_at)
            for each in messages.items
            if each.to != _ERASED
        ),
    ]


def _finding(kind: Kind, id: UUID | str, title: str, at: datetime | None = None) -> Finding:  # noqa: A002  # as the column
    moment = time_of(id) if at is None and isinstance(id, UUID) else at
    shown = min(max(moment, EARLIEST), LATEST) if moment else None
    return Finding(kind, str(id), title, _LINKS[kind] + quote(str(id), safe=""), shown)
