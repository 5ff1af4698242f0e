"""Messages to people, and their states."""

from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row
from sqlalchemy import CheckConstraint, Column, DateTime, Index, Integer, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from outbox.clock import first_consequence_of
from outbox.tables import metadata
from projections.documents import data_in
from schemas.operations import Channel, NotificationStatus

# The id is that of the command's event; the message id is the same at every attempt, so that a repeated mail shows as one.
notifications = Table(
    "notifications",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("address", Text),
    Column("message_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", DateTime(timezone=True)),
    Column("reason", Text),
    Column("error", Text),
    Column("traceparent", Text, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("locale", Text),
    CheckConstraint("channel in ('EMAIL', 'SMS', 'PUSH')", name="channel_known"),
    CheckConstraint("status in ('queued', 'sending', 'sent', 'failed', 'suppressed')", name="status_known"),
    # While the status is sending, this is the end of the sender's lease: if the sender died, another one takes over then.
    CheckConstraint("(status in ('queued', 'sending')) = (next_attempt_at is not null)", name="open_with_time"),
    CheckConstraint("status not in ('queued', 'sending', 'sent') or address is not null", name="reachable"),
    CheckConstraint("status not in ('failed', 'suppressed') or reason is not null", name="ended_with_reason"),
    Index(
        "notifications_channel_next_attempt_at_idx",
        "channel",
        "next_attempt_at",
        postgresql_where=text("next_attempt_at is not null"),
    ),
    Index("notifications_recipient_idx", "recipient", "id"),
)

contacts = Table(
    "contacts",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("email", Text),
    Column("phone", Text),
    Column("push", Text),
    Column("opt_outs", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("locale", Text),
    CheckConstraint("opt_outs <@ array['EMAIL', 'SMS', 'PUSH']", name="opt_outs_known"),
    # A message to an address respects the opt-out of the user who has that address.
    Index(None, "email"),
    Index(None, "phone"),
    Index(None, "push"),
)


class NotificationsEventView(msgspec.Struct, frozen=True, rename="camel"):
    """An event of the notification."""

    id: UUID  #: The event's id (`ce_id`).
    type: str  #: The event's type.
    occurred_at: datetime  #: When it happened.


class NotificationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The current state of the notification."""

    id: UUID  #: The notification's id.
    to: str  #: The `to` of the command.
    channel: Channel  #: The channel of the command.
    template: str  #: The code of the template.
    status: NotificationStatus  #: The current state.
    attempts: int  #: Number of attempts made.
    message_id: str  #: The id of the message, the same in every attempt.
    version: int  #: Number of the notification's events.
    updated_at: datetime  #: When the state last changed.
    events: list[NotificationsEventView]  #: The command and the events of its outcome, oldest first.
    address: str | None = None  #: The address that `to` resolved to; absent before.
    next_attempt_at: datetime | None = None  #: When the next attempt is due; absent if none is.
    reason: str | None = None  #: The stable word for the failure or suppression; absent otherwise.
    error: str | None = None  #: The error of the last attempt, in words.


# Ids are time-ordered: the condition keeps older partitions out of the search.
_READ: Final = """
select n.id, n.recipient as "to", n.channel, n.template, n.status, n.attempts, n.message_id, n.updated_at, n.address,
  n.next_attempt_at, n.reason, n.error,
  coalesce((select jsonb_agg(jsonb_build_object('id', o.id, 'type', o.type, 'occurredAt', o.occurred_at) order by o.id)
            from outbox o where o.id = n.id or (o.causation_id = n.id and o.id >= %(since)s)), '[]') as events
from notifications n where n.id = %(id)s
"""


async def notification(connection: AsyncConnection, notification_id: UUID) -> NotificationView | None:
    """The notification of a command, once the worker has taken it."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(_READ, {"id": notification_id, "since": first_consequence_of(notification_id)})
    row: dict[str, Any] | None = await cursor.fetchone()
    if row is None:
        return None
    events = msgspec.convert(row.pop("events"), list[NotificationsEventView])
    return NotificationView(**row, events=events, version=len(events))


class Contents(NamedTuple):
    """The fields that a message is rendered from; `data` is None if the stored document cannot be read, or was erased."""

    channel: Channel
    template: str
    data: dict[str, Any] | None
    locale: str | None


_CONTENTS: Final = """
select channel, template, case when recipient <> 'erased' then data::text end as data, locale from notifications where id = %s
"""


async def contents(connection: AsyncConnection, notification_id: UUID) -> Contents | None:
    """The contents of the notification of a command, once the worker has taken it."""
    cursor = connection.cursor(row_factory=class_row(Contents))
    found = await (await cursor.execute(_CONTENTS, (notification_id,))).fetchone()
    return found and found._replace(data=data_in(str(found.data)))
