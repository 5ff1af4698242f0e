"""
Replaces contents by a marker, a few rows per transaction, so that locks are short.

An event that is still on its way to Kafka is not touched, and neither is a lead or a message that is being sent: the next run
erases them. The lock on an event keeps a replay from sending it at the same time, and a replay's lock keeps this from erasing it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from psycopg import AsyncConnection, sql

from operations.erasure.search import Found, Progress
from outbox.erased import is_marker, marker

_BATCH: Final = 200

Item = TypeVar("Item")


class Erased(NamedTuple):
    """The numbers of rows that lost their content, by kind; `waiting` rows could not be erased yet."""

    counts: dict[str, int]
    waiting: int


_LOCK_EVENTS: Final = "select id from outbox where id = any(%s) order by id for update"
_EVENTS: Final = f"""
update outbox o set data = {marker("o.data")}
where id = any(%(ids)s) and not {is_marker("o.data")}
  and not exists (select from outbox_pending p where p.event_id = o.id) returning id
"""
_LEFT: Final = f"select id from outbox where id = any(%s) and not {is_marker('data')}"
_DELIVERIES: Final = f"""
update webhook_deliveries set body = {marker("body")} where id = any(%(ids)s) and body is not null returning id
"""
_LETTERS: Final = f"""
update dead_letters set value = {marker("value")}, detail = 'erased',
  status = case status when 'open' then 'discarded' else status end,
  discard_reason = case status when 'open' then 'erased' else discard_reason end,
  settled_at = coalesce(settled_at, now()), settled_by = coalesce(settled_by, %(by)s)
where id = any(%(ids)s) returning id
"""
_LEADS: Final = f"""
with moved as (
  update leads set payload = {marker("payload")}, next_attempt_at = null, suppressed = null, task_ids = '{{}}',
    status = case when status in ('received', 'retrying') then 'rejected' else status end
  where id = any(%(ids)s) and status <> 'delivering' and not {is_marker("payload")} returning id),
given_up as (
  insert into lead_discards (lead_id, reason, discarded_by) select id, 'erased', %(by)s from moved on conflict do nothing),
excerpts as (
  update lead_attempts set excerpt = 'erased' from moved where lead_id = moved.id and excerpt is not null)
select id from moved
"""
_NOTIFICATIONS: Final = """
update notifications set recipient = 'erased', data = '{}', error = null, next_attempt_at = null,
  address = case when address is not null then 'erased' end,
  reason = case when status = 'queued' then 'erased' else reason end,
  status = case when status = 'queued' then 'suppressed' else status end
where id = any(%(ids)s) and status <> 'sending' and recipient <> 'erased' returning id
"""
_SENDING: Final = f"""
select id from leads where id = any(%(leads)s) and not {is_marker("payload")} union all
select id from notifications where id = any(%(notifications)s) and recipient <> 'erased'
"""
_CONTACTS: Final = "delete from contacts where user_id = any(%(ids)s) returning user_id"
_KEY: Final = "delete from idempotency_keys where scope = %s and key = %s and status is not null"
_STATES: Final = ("payments", "invoices")
_LOCK_STATES: Final = "select id, provider, state from {} where id = any(%s) order by id, provider for update"
_STATE: Final = "update {} set state = %s where id = %s and provider = %s"
_REFERENCES: Final = "update reconciliations set user_id = null where reference = any(%(ids)s) returning reference"


async def erase(
    connection: AsyncConnection, found: Found, erasure: UUID, by: str, progress: Progress = lambda *_: None
) -> Erased:
    """Erase the found rows, on a connection in autocommit mode; existing markers stay."""
    ids = [event.id for event in found.events]
    counts = {"events": 0}
    waiting = 0
    for done, batch in _batches(ids):
        erased, left = await _erase_events(connection, batch, erasure)
        counts["events"] += erased
        waiting += left
        progress("erasing", done / len(ids))
    values = {"erasure": erasure, "by": by}
    for name, (statement, rows) in _others(found).items():
        counts[name] = 0
        for _, part in _batches(rows):
            counts[name] += len(await _run(connection, statement, {**values, "ids": [*part]}))
    for table in _STATES:
        counts[table] = 0
        for _, part in _batches([name for kind, name in found.states if kind == table]):
            counts[table] += await _erase_contacts(connection, table, part)
    waiting += len(await _run(connection, _SENDING, {"leads": found.leads, "notifications": found.notifications}))
    if not waiting:  # until then the next run needs them to find the payments of a user whom only the expectation names
        counts["references"] = 0
        for _, part in _batches(found.references):
            counts["references"] += len(await _run(connection, _REFERENCES, {"ids": [*part]}))
    await connection.cursor().executemany(_KEY, found.keys)
    counts["keys"] = len(found.keys)
    return Erased({name: number for name, number in counts.items() if number}, waiting)


def _others(found: Found) -> dict[str, tuple[str, Sequence[Any]]]:
    return {
        "deliveries": (_DELIVERIES, found.deliveries),
        "letters": (_LETTERS, found.letters),
        "leads": (_LEADS, found.leads),
        "notifications": (_NOTIFICATIONS, found.notifications),
        "contacts": (_CONTACTS, found.contacts),
    }


async def _erase_events(connection: AsyncConnection, ids: Sequence[UUID], erasure: UUID) -> tuple[int, int]:
    async with connection.transaction():
        await connection.execute(_LOCK_EVENTS, ([*ids],))
        # A statement after the lock, so that it sees the pending rows that a replay inserted before the lock.
        erased = await _run(connection, _EVENTS, {"ids": [*ids], "erasure": erasure})
        left = await _run(connection, _LEFT, ([*ids],))
    return len(erased), len(left)


async def _erase_contacts(connection: AsyncConnection, table: str, ids: Sequence[str]) -> int:
    async with connection.transaction():
        rows = await _run(connection, sql.SQL(_LOCK_STATES).format(sql.Identifier(table)), ([*ids],))
        written = [(without_contact(bytes(state)), name, provider) for name, provider, state in rows]
        await connection.cursor().executemany(sql.SQL(_STATE).format(sql.Identifier(table)), written)
    return len(rows)


async def _run(connection: AsyncConnection, statement: Any, values: Any) -> list[Any]:
    return await (await connection.execute(statement, values)).fetchall()


def _batches(items: Sequence[Item]) -> Iterator[tuple[int, Sequence[Item]]]:
    for start in range(0, len(items), _BATCH):
        batch = items[start : start + _BATCH]
        yield start + len(batch), batch


def without_contact(state: bytes) -> bytes:
    """Remove the contact; the rest stays byte for byte, equal to a state that is folded again without its contact."""
    fields = msgspec.json.decode(state)
    fields.pop("contact", None)
    return msgspec.json.encode(fields)
