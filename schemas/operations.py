"""The events of the system itself: notification commands and their results, alerts, dead letters."""

from typing import Any, Literal
from uuid import UUID

import msgspec

Channel = Literal["EMAIL", "SMS", "PUSH"]


class _Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Unknown fields are ignored, so that a reader outlives the addition of one."""


class SendNotification(_Record, frozen=True, kw_only=True):
    """
    Tell a user something; `to` is a user id or a contact (an address, a number).

    `fallback` is the address to use where `to` is a user of whom no address of the channel is known.
    """

    to: str
    channel: Channel
    template: str
    data: dict[str, Any]
    fallback: str | None = None


class _Notification(_Record, frozen=True, kw_only=True):
    """The result of a notification; `id` is that of its command."""

    id: UUID
    to: str
    channel: Channel
    template: str
    message_id: str
    attempts: int


class NotificationSent(_Notification, frozen=True, kw_only=True):
    """A provider has taken the message; after a crash it may have been handed over twice, under the same `messageId`."""


class NotificationFailed(_Notification, frozen=True, kw_only=True):
    """It will not be sent: nobody can be reached there, or every attempt failed."""

    reason: str


class NotificationSuppressed(_Notification, frozen=True, kw_only=True):
    """It will not be sent: whoever it is for wants nothing over this channel."""

    reason: str


class AlertRaised(_Record, frozen=True, kw_only=True):
    """Someone should look; `alert` is a stable word, `runbook` the page that says what to do."""

    alert: str
    subject: str
    summary: str
    runbook: str


class DeadLetterRecorded(_Record, frozen=True, kw_only=True):
    """
    A record that a consumer set aside.

    `key`, `value` and the values of headers are base64, or null as in the record: what does not decode is kept byte for byte.
    """

    id: UUID
    consumer: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: str | None
    value: str | None
    headers: list[tuple[str, str | None]]
