"""Records of the system's own operation: commands and their outcomes, alerts, dead letters, configuration."""

from typing import Any, Literal
from uuid import UUID

import msgspec

Channel = Literal["EMAIL", "SMS", "PUSH"]
NotificationStatus = Literal["queued", "sending", "sent", "failed", "suppressed"]


class _Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Fields that every record has; readers ignore unknown fields, so that a field can be added."""


class SendNotification(_Record, frozen=True, kw_only=True):
    """
    Send a notification to a user or to an address.

    The outcome is published on `notification.events`.
    """

    to: str  #: A user id, or an address of the channel (a mail address, a telephone number, a device token).
    channel: Channel  #: The channel to send over.
    template: str  #: The code of the template.
    data: dict[str, Any]  #: The variables of the template.
    fallback: str | None = None  #: The address to use if `to` is a user without a known address of the channel.


class _NotificationOutcome(_Record, frozen=True, kw_only=True):
    """The outcome of a notification."""

    id: UUID  #: The id of the notification and of its command.
    to: str  #: The `to` of the command.
    channel: Channel  #: The channel of the command.
    template: str  #: The code of the template.
    message_id: str  #: The id of the message, the same in every attempt.
    attempts: int  #: Number of attempts made.


class NotificationSent(_NotificationOutcome, frozen=True, kw_only=True):
    """
    A provider has accepted the message of a notification.

    After a crash the message may be handed over twice, under the same `messageId`.
    """


class NotificationFailed(_NotificationOutcome, frozen=True, kw_only=True):
    """
    A notification will not be sent.

    No address is known or valid, or every attempt failed; `reason` distinguishes these.
    """

    reason: str  #: The stable word for the failure.


class NotificationSuppressed(_NotificationOutcome, frozen=True, kw_only=True):
    """
    A notification will not be sent because the user has opted out.

    The user does not accept messages over this channel.
    """

    reason: str  #: The stable word for the suppression.


class AlertRaised(_Record, frozen=True, kw_only=True):
    """
    A condition needs the attention of an operator.

    `alert` is a stable word; `runbook` is the page that describes the remedy.
    """

    alert: str  #: The stable word for the condition.
    subject: str  #: The object of the condition, such as a partner's id.
    summary: str  #: The condition in words.
    runbook: str  #: The page that describes the remedy.


class DeadLetterRecorded(_Record, frozen=True, kw_only=True):
    """
    A worker could not handle a record and has recorded it as a dead letter.

    The record is kept byte for byte, so that an operator can retry it after the cause is removed.
    """

    id: UUID  #: The id of the dead letter.
    consumer: str  #: The worker role that could not handle the record.
    reason: str  #: The stable word for the error.
    detail: str  #: The error in words.
    topic: str  #: The topic of the record.
    partition: int  #: The partition of the record.
    offset: int  #: The offset of the record.
    key: str | None  #: The record's key in base64; null if it has none.
    value: str | None  #: The record's value in base64; null if it has none.
    headers: list[tuple[str, str | None]]  #: Name and value of each header; values in base64, or null.


class InvalidateCache(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """
    Remove keys from the cache.

    The worker puts the configured prefix before each key and pattern. Readers ignore unknown fields.
    """

    keys: list[str] = []  #: Exact keys, without the configured prefix.
    patterns: list[str] = []  #: Glob patterns of Redis, without the configured prefix.


class ConfigChanged(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """
    A key of the runtime configuration has a new value.

    Processes that follow the configuration apply it within two seconds.
    """

    key: str  #: The key.
    value: Any  #: The new value; null restores the default.
    version: int  #: The key's version, counted from 1.
    changed_by: str  #: The public id of the operator's token.
