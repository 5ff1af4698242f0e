"""Type and version of every event whose data is ours: the record that reads it, and the upcasts from older versions."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from schemas import billing, leads, operations, search
from schemas.errors import Reason, SchemaError
from schemas.topics import Topic

Upcast = Callable[[dict[str, Any]], dict[str, Any]]

_PREFIX: Final = "urn:tallyhook:"
_DATASCHEMA: Final = re.compile(_PREFIX + r"(?P<name>.+):(?P<version>[1-9][0-9]{0,5})")
# Errors of an upcaster for data that never fitted its version; bytes that are not UTF-8 are a ValueError too.
_MALFORMED: Final = (msgspec.DecodeError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


class EventType(NamedTuple):
    """
    One type of event.

    `upcasts[n]` turns data of version n + 1 into version n + 2, so their number fixes the current version.
    """

    name: str
    topic: Topic
    record: type[msgspec.Struct]
    aggregate: str
    upcasts: tuple[Upcast, ...] = ()

    @property
    def version(self) -> int:
        return len(self.upcasts) + 1

    @property
    def dataschema(self) -> str:
        return f"{_PREFIX}{self.name}:{self.version}"


EVENT_TYPES: Final = {
    kind.name: kind
    for kind in (
        EventType("billing.payment.succeeded", Topic.BILLING_PAYMENTS, billing.PaymentSucceeded, "payment"),
        EventType("billing.payment.failed", Topic.BILLING_PAYMENTS, billing.PaymentFailed, "payment"),
        EventType("billing.payment.refunded", Topic.BILLING_PAYMENTS, billing.PaymentRefunded, "payment"),
        EventType("billing.payment.mismatched", Topic.BILLING_PAYMENTS, billing.PaymentMismatched, "payment"),
        EventType("billing.refund.created", Topic.BILLING_REFUNDS, billing.RefundCreated, "refund"),
        EventType("billing.refund.succeeded", Topic.BILLING_REFUNDS, billing.RefundSucceeded, "refund"),
        EventType("billing.refund.failed", Topic.BILLING_REFUNDS, billing.RefundFailed, "refund"),
        EventType("billing.dispute.created", Topic.BILLING_DISPUTES, billing.DisputeCreated, "dispute"),
        EventType("billing.dispute.updated", Topic.BILLING_DISPUTES, billing.DisputeUpdated, "dispute"),
        EventType("billing.dispute.closed", Topic.BILLING_DISPUTES, billing.DisputeClosed, "dispute"),
        EventType("billing.subscription.created", Topic.BILLING_SUBSCRIPTIONS, billing.SubscriptionCreated, "subscription"),
        EventType("billing.subscription.updated", Topic.BILLING_SUBSCRIPTIONS, billing.SubscriptionUpdated, "subscription"),
        EventType("billing.subscription.canceled", Topic.BILLING_SUBSCRIPTIONS, billing.SubscriptionCanceled, "subscription"),
        EventType("billing.invoice.created", Topic.BILLING_INVOICES, billing.InvoiceCreated, "invoice"),
        EventType("billing.invoice.paid", Topic.BILLING_INVOICES, billing.InvoicePaid, "invoice"),
        EventType("billing.invoice.failed", Topic.BILLING_INVOICES, billing.InvoiceFailed, "invoice"),
        EventType("property.upserted", Topic.PROPERTIES, search.PropertyUpserted, "property"),
        EventType("property.deleted", Topic.PROPERTIES, search.PropertyDeleted, "property"),
        EventType("cache.invalidate", Topic.CACHE_COMMANDS, operations.InvalidateCache, "cache_command"),
        EventType("notification.send", Topic.NOTIFICATION_COMMANDS, operations.SendNotification, "notification"),
        EventType("notification.sent", Topic.NOTIFICATIONS, operations.NotificationSent, "notification"),
        EventType("notification.failed", Topic.NOTIFICATIONS, operations.NotificationFailed, "notification"),
        EventType("notification.suppressed", Topic.NOTIFICATIONS, operations.NotificationSuppressed, "notification"),
        EventType(leads.RECEIVED, Topic.PARTNER_LEADS, leads.LeadReceived, "lead"),
        EventType("lead.delivered", Topic.PARTNER_LEADS, leads.LeadDelivered, "lead"),
        EventType("lead.delivery.failed", Topic.PARTNER_LEADS, leads.LeadDeliveryFailed, "lead"),
        EventType("lead.delivery.exhausted", Topic.PARTNER_LEADS, leads.LeadDeliveryExhausted, "lead"),
        EventType(leads.DELIVER, Topic.LEAD_COMMANDS, leads.DeliverLead, "lead"),
        EventType("alert.raised", Topic.ALERTS, operations.AlertRaised, "alert"),
        EventType("config.changed", Topic.CONFIG, operations.ConfigChanged, "config"),
        EventType("dead-letter.recorded", Topic.DEAD_LETTERS, operations.DeadLetterRecorded, "dead_letter"),
    )
}


def type_of(record: msgspec.Struct) -> EventType:
    """The event type whose data the record is."""
    return _BY_RECORD[type(record)]


_BY_RECORD: Final = {kind.record: kind for kind in EVENT_TYPES.values()}


def encode(record: msgspec.Struct) -> bytes:
    """The data of an event, as JSON."""
    return msgspec.json.encode(record)


def decode(dataschema: str, data: bytes) -> msgspec.Struct:
    """
    Decode the data of one of our events into the current record, from any version in which it was written.

    Raises SchemaError with reason `schema_unknown`, `schema_too_new` or `data_malformed`.
    """
    kind, version = _parse(dataschema)
    try:
        if version == kind.version:
            return msgspec.json.decode(data, type=kind.record)
        fields = msgspec.json.decode(data, type=dict[str, Any])
        for upcast in kind.upcasts[version - 1 :]:
            fields = upcast(fields)
        return msgspec.convert(fields, kind.record)
    except _MALFORMED as error:
        raise SchemaError(Reason.DATA_MALFORMED, str(error)) from error


@lru_cache(maxsize=1024)  # called for every event, with a few dozen names
def _parse(dataschema: str) -> tuple[EventType, int]:
    match = _DATASCHEMA.fullmatch(dataschema)
    kind = EVENT_TYPES.get(match["name"]) if match else None
    if match is None or kind is None:
        raise SchemaError(Reason.SCHEMA_UNKNOWN, f"no schema is known as {dataschema!r}")
    version = int(match["version"])
    if version > kind.version:
        raise SchemaError(Reason.SCHEMA_TOO_NEW, f"{dataschema!r} is newer than version {kind.version} known here")
    return kind, version
