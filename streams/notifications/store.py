"""All SQL of the notifications worker: rows that wait, are claimed when they are due, and are settled."""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from outbox import tasks
from outbox.append import append, event_of
from projections.documents import data_in
from runtime.tracing import continue_trace
from schemas.envelope import Event
from schemas.operations import Channel, NotificationFailed, NotificationSent, NotificationSuppressed
from streams.due import RECALLED_MAX, announce

DUE_CHANNEL: Final = "notifications_due"
"""Notified when a notification has become due by a commit."""
SOURCE: Final = "/workers/notifications"


FinalOutcome = NotificationSent | NotificationFailed | NotificationSuppressed


class Notification(NamedTuple):
    """
    A notification that this worker holds; `opted_out` if the user has opted out since it was queued.

    `data` is None if the stored document cannot be read.
    """

    id: UUID
    recipient: str
    channel: Channel
    template: str
    data: dict[str, Any] | None
    address: str | None
    message_id: str
    attempts: int
    traceparent: str
    locale: str | None = None
    opted_out: bool = False


# As one document: adapting many rows of values takes psycopg longer than everything else that a worker does for a command.
_ENQUEUE: Final = """
insert into notifications (id, recipient, channel, template, data, address, message_id, status, next_attempt_at, reason,
                           traceparent, locale, updated_at)
select id, recipient, channel, template, data, address, message_id, status, case when status = 'queued' then now() end, reason,
       traceparent, locale, coalesce(at, now())
from jsonb_to_recordset(%s::jsonb) as s(id uuid, recipient text, channel text, template text, data jsonb, address text,
  message_id text, status text, reason text, traceparent text, locale text, at timestamptz)
on conflict (id) do nothing
"""
# Attempts are counted before they are made, so that one which kills its worker counts too.
_CLAIM: Final = """
with picked as materialized (
  select id, next_attempt_at, octet_length(data::text) as size from notifications
  where channel = %s and next_attempt_at is not null and next_attempt_at <= now()
  order by next_attempt_at limit %s for update skip locked),
due as materialized (
  select id from (select id, size, sum(size) over (order by next_attempt_at, id) as total from picked) sized
  where total <= %s or total = size)
update notifications n set status = 'sending', attempts = attempts + 1, next_attempt_at = now() + %s, updated_at = now()
from due where n.id = due.id
returning n.id, n.recipient, n.channel, n.template, n.data::text as data, n.address, n.message_id, n.attempts, n.traceparent,
  n.locale, exists (select 1 from contacts c where c.user_id = n.recipient and n.channel = any (c.opt_outs)) as opted_out
"""
# A worker whose lease ran out has lost the row: another has claimed it since, which shows in the attempts.
_SETTLE: Final = """
update notifications n set status = v.status, next_attempt_at = now() + v.pause, reason = v.reason, error = v.error,
  updated_at = coalesce(v.at, now())
from unnest(%s::uuid[], %s::int4[], %s::text[], %s::interval[], %s::text[], %s::text[], %s::timestamptz[])
  as v(id, attempts, status, pause, reason, error, at)
where n.id = v.id and n.attempts = v.attempts and n.status = 'sending' returning n.id, n.attempts
"""


async def enqueue(connection: AsyncConnection, notifications: Sequence[Notification]) -> None:
    """Store notifications that are due now, and wake the dispatchers."""
    if notifications:
        await _insert(connection, [(each, "queued", None, None) for each in notifications])
        await announce(connection, DUE_CHANNEL)


async def refuse(
    connection: AsyncConnection, refused: Sequence[tuple[Notification, NotificationFailed | NotificationSuppressed]]
) -> None:
    """Store notifications that will not be sent, with their events, and settle their tasks."""
    events = [_event(each, outcome) for each, outcome in refused]
    rows = [
        (each, STATUS[type(outcome)], outcome.reason, event.occurred_at)
        for (each, outcome), event in zip(refused, events, strict=True)
    ]
    await _insert(connection, rows)
    await append(connection, events)
    await _settle_tasks(connection, refused)


async def suppress(connection: AsyncConnection, notifications: Sequence[Notification], reason: str) -> None:
    """Store notifications that are not to be sent, without events: those were published before."""
    await _insert(connection, [(each, "suppressed", reason, None) for each in notifications])
    await tasks.finish_all(connection, {each.id: _result(each, "suppressed") for each in notifications})


CLAIM_BYTES: Final = 4 * 1024 * 1024
"""Bytes of data in one claim; a larger notification is claimed alone."""


async def claim(connection: AsyncConnection, channel: Channel, limit: int, lease: timedelta) -> list[Notification]:
    """Claim due notifications, oldest first, for the time of the lease; every other worker passes over them."""
    cursor = connection.cursor(row_factory=class_row(Notification))
    await cursor.execute(_CLAIM, (channel, limit, CLAIM_BYTES, lease))
    return [each._replace(data=data_in(str(each.data))) for each in await cursor.fetchall()]


_NEXT_DUE: Final = """
select extract(epoch from next_attempt_at - now())::float8 from notifications
where channel = %s and next_attempt_at is not null and next_attempt_at > now() order by next_attempt_at limit 1
"""


async def next_due(connection: AsyncConnection, channel: Channel) -> float | None:
    """Return the seconds until the next notification of the channel becomes due, or None if none will; due ones do not count."""
    row = await (await connection.execute(_NEXT_DUE, (channel,))).fetchone()
    return row[0] if row else None


_RENEW: Final = """
update notifications n set next_attempt_at = now() + %s from unnest(%s::uuid[], %s::int4[]) as v(id, attempts)
where n.id = v.id and n.attempts = v.attempts and n.status = 'sending' returning n.id
"""


async def renew(connection: AsyncConnection, notifications: Collection[Notification], lease: timedelta) -> list[UUID]:
    """Extend the claims of notifications under way; return the ids of those that are neither another worker's nor settled."""
    columns = [each.id for each in notifications], [each.attempts for each in notifications]
    return [row[0] for row in await (await connection.execute(_RENEW, (lease, *columns))).fetchall()]


_RECALL: Final = f"""
update notifications set next_attempt_at = now() + %s where id in (
  select id from notifications where channel = %s and next_attempt_at > now() + %s limit {RECALLED_MAX} for update skip locked)
"""


async def recall(connection: AsyncConnection, channel: Channel, after: timedelta, within: timedelta) -> None:
    """Make notifications due `within` this time that would be due later than `after`; a number of them in each call."""
    await connection.execute(_RECALL, (within, channel, after))


class Retried(NamedTuple):
    """The message is to be sent again after the pause."""

    pause: timedelta
    reason: str


class Ended(NamedTuple):
    """An attempt that is over, and what follows from it."""

    row: Notification
    outcome: FinalOutcome | Retried
    error: str | None = None


STATUS: Final[dict[type, str]] = {NotificationSent: "sent", NotificationFailed: "failed", NotificationSuppressed: "suppressed"}
OUTCOMES: Final = STATUS | {Retried: "retried"}


async def settle(connection: AsyncConnection, ended: Sequence[Ended]) -> list[Ended]:
    """
    Store attempts with their events, and settle their tasks, in the open transaction.

    Returns the attempts whose claim was not lost.
    """
    events = [None if isinstance(each.outcome, Retried) else _event(each.row, each.outcome) for each in ended]
    columns = zip(*(_settled(each, event) for each, event in zip(ended, events, strict=True)), strict=True)
    current = {*await (await connection.execute(_SETTLE, [list(column) for column in columns])).fetchall()}
    held = [(each, event) for each, event in zip(ended, events, strict=True) if (each.row.id, each.row.attempts) in current]
    await append(connection, [event for _, event in held if event])
    await _settle_tasks(connection, [(each.row, each.outcome) for each, _ in held if not isinstance(each.outcome, Retried)])
    return [each for each, _ in held]


def _settled(ended: Ended, event: Event | None) -> tuple[Any, ...]:
    """Return the values of `_SETTLE` for one row."""
    row, outcome = ended.row, ended.outcome
    reason = None if isinstance(outcome, NotificationSent) else outcome.reason
    if isinstance(outcome, Retried):
        return row.id, row.attempts, "queued", outcome.pause, reason, ended.error, None
    return row.id, row.attempts, STATUS[type(outcome)], None, reason, ended.error, event and event.occurred_at


async def give_up(connection: AsyncConnection, row: Notification, reason: str, error: str) -> None:
    """Store the notification as failed, without an event, since none could be written."""
    values = (row.id, row.attempts, "failed", None, reason, error, datetime.now(UTC))
    await connection.execute(_SETTLE, [[value] for value in values])


async def _insert(connection: AsyncConnection, rows: Sequence[tuple[Notification, str, str | None, datetime | None]]) -> None:
    """Insert rows with the time of their event, if there is one: a row that is rebuilt from the events has the same time."""
    if rows:
        documents = [
            {
                "id": str(n.id),
                "recipient": n.recipient,
                "channel": n.channel,
                "template": n.template,
                "data": n.data,
                "address": n.address,
                "message_id": n.message_id,
                "status": status,
                "reason": reason,
                "traceparent": n.traceparent,
                "locale": n.locale,
                "at": at and at.isoformat(),
            }
            for n, status, reason, at in rows
        ]
        await connection.execute(_ENQUEUE, (json.dumps(documents),))


async def _settle_tasks(connection: AsyncConnection, ended: Sequence[tuple[Notification, FinalOutcome]]) -> None:
    """Settle the tasks of those that came as commands: one statement for all that are done, one for each that failed."""
    done = {
        each.id: _result(each, STATUS[type(outcome)]) for each, outcome in ended if not isinstance(outcome, NotificationFailed)
    }
    await tasks.finish_all(connection, done)
    for each, outcome in ended:
        if isinstance(outcome, NotificationFailed):
            await tasks.fail(connection, each.id, outcome.reason)


def _result(each: Notification, status: str) -> dict[str, str]:
    return {"status": status, "messageId": each.message_id}


def _event(each: Notification, outcome: FinalOutcome) -> Event:
    return event_of(
        outcome,
        aggregate_id=str(each.id),
        source=SOURCE,
        occurred_at=datetime.now(UTC),
        trace=continue_trace(each.traceparent),
        causation_id=each.id,
    )
