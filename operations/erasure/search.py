"""
The search for all stored data about a subject.

The log has no index on the contents of payloads, so all of it is read, a few thousand rows per statement: this is slow on a large
log, but blocks nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from operations.erasure.subjects import Subject
from outbox.erased import is_marker
from projections.lists import OF_USER
from runtime.ids import first_id_of, time_of
from schemas.topics import TOPICS, Topic

_PAGE: Final = 2000

Progress = Callable[[str, float], None]
"""Called with the current step and its progress, from 0 to 1."""


class Event(NamedTuple):
    """An event of the log."""

    id: UUID
    topic: str
    key: str


class Found(NamedTuple):
    """All rows about one subject; `letters` are dead letters, `deliveries` rejected ones, `states` payments and invoices."""

    events: list[Event]
    deliveries: list[UUID]
    letters: list[UUID]
    leads: list[UUID]
    notifications: list[UUID]
    contacts: list[str]
    keys: list[tuple[str, str]]
    states: list[tuple[str, str]]
    references: list[str]

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(rows) for name, rows in self._asdict().items()}

    def unerased(self) -> "Found":
        """Return the rows to try again, since they may have been on their way."""
        return self._replace(deliveries=[], letters=[], contacts=[], keys=[], states=[])

    @property
    def documents(self) -> list[str]:
        """The keys of events about search documents, which a separate command deletes."""
        return sorted({event.key for event in self.events if event.topic == Topic.PROPERTIES})

    @property
    def kafka_until(self) -> datetime | None:
        """The time until which Kafka may hold copies of the events; a replay extends it."""
        return max((time_of(each.id) + TOPICS[Topic(each.topic)].retention for each in self.events), default=None)


_AGGREGATES: Final = {
    "customer": """
        select 'payment', id from payments where customer_id = %(id)s union
        select 'subscription', id from subscriptions where customer_id = %(id)s union
        select 'invoice', id from invoices where customer_id = %(id)s
    """,
    # A payment that names a user itself is that user's, whoever was expected to pay it.
    "user": f"""
        select 'payment', id from payments
        where id = any(array({OF_USER})) and coalesce(user_id, %(user)s) = %(user)s
    """,
    "payment": "select 'payment', %(id)s::text",
    "subscription": "select 'subscription', %(id)s::text",
    "invoice": "select 'invoice', %(id)s::text",
    "lead": "select 'lead', event_id::text from dedup where source = 'partner' and provider_event_id = %(lead)s",
    "email": """
        select 'payment', id from payments where encode(state, 'escape') ~* %(pattern)s union
        select 'invoice', id from invoices where encode(state, 'escape') ~* %(pattern)s
    """,
}
# A dispute may contain the payer's name and words, but of ids only its payment's.
_OF_PAYMENTS: Final = """
select 'refund', id from refunds where payment_id = any(%(payments)s) union
select 'dispute', id from disputes where payment_id = any(%(payments)s)
"""
_HISTORY: Final = """
select h.event_id from history h join unnest(%s::text[], %s::text[]) as a(type, id)
  on (h.aggregate_id, h.aggregate_type) = (a.id, a.type)
"""
_CAUSED: Final = (
    """
with recursive chain as (
  select id from unnest(%s::uuid[]) as t(id) union
  select o.id from chain c join outbox o on o.causation_id = c.id)
select o.id, o.topic, o.aggregate_id, """
    + is_marker("o.data")
    + """ from chain c join outbox o on o.id = c.id order by o.id
"""
)
_LETTERS: Final = f"""
select id from dead_letters
where (event_id = any(%(events)s) or encode(value, 'escape') ~* %(pattern)s) and {is_marker("value")} is not true order by id
"""
# The record of a letter is also in an event on the topic `dead-letters`, which is appended a moment after the letter.
_RECORDED: Final = """
select o.id from unnest(%s::uuid[], %s::uuid[], %s::text[]) as l(first, last, key)
  join outbox o on o.id >= l.first and o.id < l.last and o.aggregate_id = l.key
"""
_LEADS: Final = f"""
select id from leads
where (id = any(%(events)s) or encode(payload, 'escape') ~* %(pattern)s) and not {is_marker("payload")} order by id
"""
_NOTIFICATIONS: Final = """
select id from notifications
where recipient <> 'erased' and (id = any(%(events)s) or recipient = %(id)s or lower(address) = lower(%(id)s)
  or encode(convert_to(concat_ws(' ', to_json(recipient), data::text, error), 'UTF8'), 'escape') ~* %(pattern)s) order by id
"""
_CONTACTS: Final = """
select user_id from contacts
where (%(kind)s = 'user' and user_id = %(id)s) or (%(kind)s = 'email' and (lower(email) = lower(%(id)s) or user_id = %(id)s))
"""
_KEYS: Final = "select scope, key from idempotency_keys where status is not null and encode(body, 'escape') ~* %(pattern)s"
_STATES: Final = """
select 'payments', p.id from unnest(%(types)s::text[], %(ids)s::text[]) as a(type, id) join payments p on p.id = a.id
where a.type = 'payment' and convert_from(p.state, 'UTF8')::jsonb ->> 'contact' is not null union all
select 'invoices', i.id from unnest(%(types)s::text[], %(ids)s::text[]) as a(type, id) join invoices i on i.id = a.id
where a.type = 'invoice' and convert_from(i.state, 'UTF8')::jsonb ->> 'contact' is not null
"""


async def find(connection: AsyncConnection, subject: Subject, progress: Progress = lambda *_: None) -> Found:
    """Find the rows about the subject that are not erased yet, on a connection in autocommit mode."""
    values: dict[str, Any] = {"kind": subject.kind, "id": subject.id, "user": subject.id, "pattern": subject.pattern}
    values["lead"] = subject.lead_key if subject.kind == "lead" else None
    aggregates = await _rows(connection, _AGGREGATES[subject.kind], values)
    payments = [name for kind, name in aggregates if kind == "payment"]
    aggregates += await _rows(connection, _OF_PAYMENTS, {"payments": payments})
    types, ids = [row[0] for row in aggregates], [row[1] for row in aggregates]
    seeds = {row[0] for row in await _rows(connection, _HISTORY, (types, ids))}
    seeds |= {UUID(name) for kind, name in aggregates if kind == "lead"}
    values["pattern"] = _event_pattern(subject, ids)
    seeds |= set(await _scan(connection, "outbox", "data", values["pattern"], progress))
    deliveries = await _scan(connection, "webhook_deliveries", "body", values["pattern"], progress)
    caused = await _rows(connection, _CAUSED, ([*seeds],))
    values["events"] = [row[0] for row in caused] + [*seeds]
    letters = [row[0] for row in await _rows(connection, _LETTERS, values)]
    recorded = await _recorded(connection, letters)
    events = {row[0]: Event(*row[:3]) for row in [*caused, *recorded] if not row[3]}
    return Found(
        events=sorted(events.values()),
        deliveries=deliveries,
        letters=letters,
        leads=[row[0] for row in await _rows(connection, _LEADS, values)],
        notifications=[row[0] for row in await _rows(connection, _NOTIFICATIONS, values)],
        contacts=[row[0] for row in await _rows(connection, _CONTACTS, values)],
        keys=await _rows(connection, _KEYS, values),
        states=await _rows(connection, _STATES, {"types": types, "ids": ids}),
        references=await _references(connection, subject),
    )


def _event_pattern(subject: Subject, aggregates: list[str]) -> str:
    """The pattern of a subject in events: those of a lead contain its own id, others the id in the request."""
    if subject.kind != "lead":
        return subject.pattern
    names = [f'"{each}"' for each in aggregates]
    return "|".join(names) or '"no such lead"'


async def _scan(connection: AsyncConnection, table: str, column: str, pattern: str, progress: Progress) -> list[UUID]:
    """Return the ids of the rows whose payload matches; the time in an id gives the progress of the scan."""
    query = f"""
    select id, coalesce(encode({column}, 'escape') ~* %s and not {is_marker(column)}, false)
    from (select id, {column} from {table} where id > %s and {column} is not null order by id limit {_PAGE}) page
    """
    after, found, now = first_id_of(datetime(1970, 1, 1, tzinfo=UTC)), list[UUID](), datetime.now(UTC)
    began: datetime | None = None
    while page := await _rows(connection, query, (pattern, after)):
        found += [row[0] for row in page if row[1]]
        after = max(row[0] for row in page)
        began = began or time_of(min(row[0] for row in page))
        progress(f"searching {table}", (time_of(after) - began) / max(now - began, timedelta(seconds=1)))
    return found


async def _recorded(connection: AsyncConnection, letters: list[UUID]) -> list[Any]:
    last = [first_id_of(time_of(letter) + timedelta(minutes=1)) for letter in letters]
    recorded = await _rows(connection, _RECORDED, (letters, last, [str(letter) for letter in letters]))
    return await _rows(connection, _CAUSED, ([row[0] for row in recorded],))


async def _references(connection: AsyncConnection, subject: Subject) -> list[str]:
    if subject.kind != "user":
        return []
    return [row[0] for row in await _rows(connection, "select reference from reconciliations where user_id = %s", (subject.id,))]


async def _rows(connection: AsyncConnection, query: str, values: Any) -> list[Any]:
    return await (await connection.execute(query, values)).fetchall()
