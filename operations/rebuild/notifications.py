"""Rebuild messages to people: the commands to send them, and their outcomes."""

from collections.abc import Sequence
from typing import Final

from psycopg import AsyncConnection

from operations.rebuild.sources import Events, Part, Source
from projections.notifications import notifications
from schemas.envelope import Event
from schemas.operations import NotificationFailed, NotificationSent, NotificationSuppressed
from schemas.topics import Topic
from streams.notifications.handler import NotificationsHandler
from streams.notifications.settings import NotificationSettings
from streams.notifications.store import STATUS
from streams.records import data_of

_COMMAND: Final = "notification.send"
_WANTED: Final = """
with marked as (
  select event_id from public.consumed c where consumer = 'notifications' and not exists (
    select from public.dead_letters d where d.event_id = c.event_id and d.consumer = 'notifications' and d.status <> 'retried'))
select event_id, 0 from marked
union select o.id, 1 from marked join public.outbox o on o.causation_id = event_id where o.topic = 'notification.events'
"""
# The log has the recipient but not the address, so the address is that of the present contact.
_SETTLE: Final = """
update notifications set status = %s, reason = %s, attempts = %s, message_id = %s, updated_at = %s, next_attempt_at = null,
  address = case when %s = 'sent' then coalesce(address, recipient) else address end, settled = true
where id = %s
"""
# The message may have been sent without an event of it: an operator has to decide whether to send it again.
_HOLD: Final = """
update {shadow}.notifications set status = 'suppressed', reason = 'replay', next_attempt_at = null
where not settled and ({held} or status <> 'queued')
"""
_MARKS: Final = "alter table {shadow}.notifications add column if not exists settled boolean not null default false"
_CONTACTS: Final = "insert into {shadow}.contacts select * from public.contacts on conflict do nothing"
_FORGET: Final = """
delete from {shadow}.notifications where next_attempt_at is null
  and updated_at < (select cutoff from public.retention_cutoffs where kind = 'notifications')
"""
_VERDICT: Final = """
case when l.id is null then 'missing' when s.id is null or l.recipient = 'erased' then 'kept'
  when l.status in ('queued', 'sending') and s.reason is distinct from 'replay' then 'behind' else 'different' end
"""
_COMMANDED: Final = ("recipient", "channel", "template", "data", "message_id", "traceparent")
_DIFFERS: Final = """
s.reason is distinct from 'replay' and s.status <> 'queued' and (l.status, l.reason) is distinct from (s.status, s.reason)
"""
_UPDATED: Final = (*_COMMANDED, "status", "reason", "attempts", "next_attempt_at", "updated_at")


class RestoredNotifications(NotificationsHandler):
    """Handles commands as the worker does, with the present contacts, and then applies their outcomes."""

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        await super().handle(connection, [event for event in events if event.type == _COMMAND])
        for event in events:
            if event.type != _COMMAND:
                await self._apply(connection, event)

    @staticmethod
    async def _apply(connection: AsyncConnection, event: Event) -> None:
        outcome = data_of(event, NotificationSent, NotificationFailed, NotificationSuppressed)
        status = STATUS[type(outcome)]
        reason = getattr(outcome, "reason", None)
        values = (status, reason, outcome.attempts, outcome.message_id, event.occurred_at, status, outcome.id)
        await connection.execute(_SETTLE, values)


def source(settings: NotificationSettings, *, effects: bool) -> Source:
    """Return the source; without `effects`, a message that may have been sent is stored as suppressed."""
    handler = RestoredNotifications(frozenset(settings.urls), settings.notify_message_domain)
    return Source(
        name="notifications",
        tables=["notifications", "contacts"],
        parts=[Part(notifications, _VERDICT, compared=_COMMANDED, differs=_DIFFERS, updated=_UPDATED)],
        locks=["notifications"],
        events=Events(handler, _WANTED, (Topic.NOTIFICATION_COMMANDS, Topic.NOTIFICATIONS)),
        seed=[_MARKS, _CONTACTS],
        finish=[_HOLD.replace("{held}", "false" if effects else "true"), _FORGET],
        needs=["contacts"],
        not_in_log="the text of the last error; address and locale are those of the present contact",
    )
