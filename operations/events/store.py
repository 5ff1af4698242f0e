"""The SQL that finds an event by any id, and the rows that it and its consequences began or changed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from schemas.envelope import EARLIEST, LATEST
from schemas.providers import SOURCES

_TOUCHED_MAX: Final = 500

# The id of a delivery: a duplicate has the id of the original event, and a rejected delivery that of its recovery.
_OF_DELIVERY: Final = "select coalesce(event_id, recovered_as, id) from webhook_deliveries where id = %s"
_OF_PROVIDER: Final = "select event_id from dedup where source = any(%s) and provider_event_id = %s limit 1"
_OF_AGGREGATE: Final = "select event_id from history where aggregate_id = %s order by occurred_at desc, event_id desc limit 1"
# Each is found by its primary key: a task, a lead and a notification have the id of the event that began them.
_TOUCHED: Final = """
with events as (select * from unnest(%(ids)s::uuid[], %(keys)s::text[]) as t(id, key)),
touched as (
  select 'task' as kind, t.id::text as id, t.status, t.reason as error, t.created_at as began_at, t.settled_at as ended_at,
    null::int as attempt, null as excerpt, '/internal/v1/tasks/' || t.id as link
  from events e join tasks t on t.id = e.id
  union all
  select 'notification', n.id::text, n.status, n.reason, null, n.updated_at, n.attempts, null, '/v1/admin/notifications/' || n.id
  from events e join notifications n on n.id = e.id
  union all
  select 'lead', l.id::text, l.status, l.suppressed, l.received_at, l.updated_at, l.attempts, null, '/v1/admin/leads/' || l.id
  from events e join leads l on l.id = e.id
  union all
  select 'attempt', a.lead_id::text, coalesce(a.status::text, case when a.ended_at is null then 'running' else 'failed' end),
    a.error, a.started_at, a.ended_at, a.attempt, a.excerpt, '/v1/admin/leads/' || a.lead_id
  from events e join lead_attempts a on a.lead_id = e.id
  union all
  select distinct h.aggregate_type, h.aggregate_id, h.type, null, h.occurred_at, null::timestamptz, null::int, null,
    '/v1/admin/' || h.aggregate_type || 's/' || h.aggregate_id
  from events e join history h on h.aggregate_id = e.key and h.event_id = e.id and h.aggregate_type <> 'lead')
select * from touched order by coalesce(began_at, ended_at), kind, attempt limit %(limit)s
"""

Kind = Literal["task", "notification", "lead", "attempt", "payment", "refund", "dispute", "subscription", "invoice"]


class Touched(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A thing that an event began or changed."""

    kind: Kind  #: The kind of the thing; `attempt` is an attempt to deliver a lead.
    id: str  #: The id of the thing; of an attempt, the id of the lead.
    status: str  #: The state; of an attempt the HTTP status or `running` or `failed`, of money the provider's type of the event.
    link: str  #: The path of this API that reads it.
    began_at: datetime | None = None  #: When it began; absent if unknown.
    ended_at: datetime | None = None  #: When it ended or last changed; absent if it has not ended.
    attempt: int | None = None  #: The number of the attempt, or the number of attempts made; absent where there are none.
    error: str | None = None  #: The stable word for the error; absent if there is none.
    excerpt: str | None = None  #: The first characters of the CRM's answer to an attempt; absent if it was empty.


async def find_event(connection: AsyncConnection, any_id: str) -> UUID | None:
    """Find the event by its id, its delivery's id, the provider's id of it, or the id of an aggregate that it changed last."""
    own = _uuid(any_id)
    if own is not None:
        found = await _one(connection, _OF_DELIVERY, (own,))
        return found or own
    return await _one(connection, _OF_PROVIDER, (list(SOURCES), any_id)) or await _one(connection, _OF_AGGREGATE, (any_id,))


async def touched(connection: AsyncConnection, events: Sequence[tuple[UUID, str]]) -> list[Touched]:
    """Read the things that these events, each with its key, began or changed, oldest first."""
    ids, keys = [event[0] for event in events], [event[1] for event in events]
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_TOUCHED, {"ids": ids, "keys": keys, "limit": _TOUCHED_MAX})
        return [Touched(**{name: _readable(value) for name, value in row.items()}) for row in await cursor.fetchall()]


async def _one(connection: AsyncConnection, statement: str, values: Any) -> UUID | None:
    row = await (await connection.execute(statement, values)).fetchone()
    return row[0] if row else None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _readable(value: Any) -> Any:
    return min(max(value.astimezone(UTC), EARLIEST), LATEST) if isinstance(value, datetime) else value
