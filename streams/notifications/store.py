"""All SQL of the notifications worker: what waits, whose turn it is, and what became of it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from outbox import tasks
from outbox.append import NewEvent, append, event_of
from runtime.tracing import continue_trace
from schemas.operations import Channel, NotificationFailed, NotificationSent, NotificationSuppressed

SOURCE: Final = "/workers/notifications"


class Notification(NamedTuple):
    """
    A notification that this worker holds; `opted_out` where the user has opted out since it was queued.

    `data` is None where what is stored cannot be read.
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


_ENQUEUE: Final = """
insert into notifications (id, recipient, channel, template, data, address, message_id, status, next_attempt_at, reason,
                           traceparent, locale, updated_at)
values (%s, %s, %s, %s, %s, %s, %s, %s, case when %s = 'queued' then now() end, %s, %s, %s, coalesce(%s, now()))
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
update notifications set status = %s, next_attempt_at = null, reason = %s, error = %s, updated_at = %s
where id = %s and status = 'sending' and attempts = %s
"""
_POSTPONE: Final = """
update notifications set status = 'queued', next_attempt_at = now() + %s, reason = %s, error = %s, updated_at = now()
where id = %s and status = 'sending' and attempts = %s
"""


async def enqueue(connection: AsyncConnection, notifications: Sequence[Notification]) -> None:
    """Write down what is to be sent."""
    await _insert(connection, [(each, "queued", None, None) for each in notifications])


async def refuse(
    connection: AsyncConnection, refused: Sequence[tuple[Notification, NotificationFailed | NotificationSuppressed]]
) -> None:
    """Write down what will not be sent, say so, and settle the tasks."""
    events = [_event(each, news) for each, news in refused]
    rows = [
        (each, STATUS[type(news)], news.reason, event.occurred_at) for (each, news), event in zip(refused, events, strict=True)
    ]
    await _insert(connection, rows)
    await append(connection, events)
    for each, news in refused:
        await _settle_task(connection, each, news)


async def suppress(connection: AsyncConnection, notifications: Sequence[Notification], reason: str) -> None:
    """Write down what is not to be sent, without a word about it: what became of it was told before."""
    await _insert(connection, [(each, "suppressed", reason, None) for each in notifications])
    for each in notifications:
        await tasks.finish(connection, each.id, {"status": "suppressed", "messageId": each.message_id})


CLAIM_BYTES: Final = 4 * 1024 * 1024
"""Bytes of data in one claim; a larger notification is claimed alone."""


async def claim(connection: AsyncConnection, channel: Channel, limit: int, lease: timedelta) -> list[Notification]:
    """Take what is due, oldest first, for the time of the lease; every other worker passes over it."""
    cursor = connection.cursor(row_factory=class_row(Notification))
    await cursor.execute(_CLAIM, (channel, limit, CLAIM_BYTES, lease))
    return [each._replace(data=_data_in(str(each.data))) for each in await cursor.fetchall()]


def _data_in(text: str) -> dict[str, Any] | None:
    """One by one: a document that Python cannot hold is its own notification's failure."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


_RENEW: Final = """
update notifications n set next_attempt_at = now() + %s from unnest(%s::uuid[], %s::int4[]) as v(id, attempts)
where n.id = v.id and n.attempts = v.attempts and n.status = 'sending' returning n.id
"""


async def renew(connection: AsyncConnection, notifications: Sequence[Notification], lease: timedelta) -> list[UUID]:
    """Go on holding what is being sent; the ids of those that nobody else has claimed, and that are not settled."""
    columns = [each.id for each in notifications], [each.attempts for each in notifications]
    return [row[0] for row in await (await connection.execute(_RENEW, (lease, *columns))).fetchall()]


async def settle(
    connection: AsyncConnection,
    notification: Notification,
    news: NotificationSent | NotificationFailed | NotificationSuppressed,
    error: str | None = None,
) -> bool:
    """Write down what became of it, say so and settle its task, in the open transaction; False where the lease was lost."""
    status, event = STATUS[type(news)], _event(notification, news)
    reason = None if isinstance(news, NotificationSent) else news.reason
    values = (status, reason, error, event.occurred_at, notification.id, notification.attempts)
    cursor = await connection.execute(_SETTLE, values)
    if cursor.rowcount == 0:
        return False
    await append(connection, [event])
    await _settle_task(connection, notification, news)
    return True


STATUS: Final = {NotificationSent: "sent", NotificationFailed: "failed", NotificationSuppressed: "suppressed"}


async def postpone(connection: AsyncConnection, notification: Notification, pause: timedelta, reason: str, error: str) -> None:
    """Let it be due again after the pause."""
    await connection.execute(_POSTPONE, (pause, reason, error, notification.id, notification.attempts))


async def give_up(connection: AsyncConnection, notification: Notification, reason: str, error: str) -> None:
    """Let it have failed, without an event: none could be written of it."""
    await connection.execute(_SETTLE, ("failed", reason, error, datetime.now(UTC), notification.id, notification.attempts))


async def _insert(connection: AsyncConnection, rows: Sequence[tuple[Notification, str, str | None, datetime | None]]) -> None:
    """With the time of the event that tells of it, where one does: a row that is made anew of the events has it too."""
    await connection.cursor().executemany(
        _ENQUEUE,
        [
            (
                n.id,
                n.recipient,
                n.channel,
                n.template,
                Jsonb(n.data),
                n.address,
                n.message_id,
                status,
                status,
                reason,
                n.traceparent,
                n.locale,
                at,
            )
            for n, status, reason, at in rows
        ],
    )


async def _settle_task(
    connection: AsyncConnection, each: Notification, news: NotificationSent | NotificationFailed | NotificationSuppressed
) -> None:
    if isinstance(news, NotificationFailed):
        await tasks.fail(connection, each.id, news.reason)
    else:
        await tasks.finish(connection, each.id, {"status": STATUS[type(news)], "messageId": each.message_id})


def _event(each: Notification, news: NotificationSent | NotificationFailed | NotificationSuppressed) -> NewEvent:
    return event_of(
        news,
        aggregate_id=str(each.id),
        source=SOURCE,
        occurred_at=datetime.now(UTC),
        trace=continue_trace(each.traceparent),
        causation_id=each.id,
    )
