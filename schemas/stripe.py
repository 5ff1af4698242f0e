"""A Stripe event as far as everyone needs it: who it is, when it happened, which object it speaks of (https://docs.stripe.com/api/events/object)."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

import msgspec

SOURCE: Final = "stripe"
TYPE_PREFIX: Final = "com.stripe."
DATASCHEMA: Final = "urn:tallyhook:com.stripe.event:1"

# What the payments worker folds. Anything else is acknowledged and stored, and can be replayed once it has a handler.
HANDLED_TYPES: Final = frozenset(
    {
        "payment_intent.created",
        "payment_intent.processing",
        "payment_intent.amount_capturable_updated",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "charge.refunded",
        "invoice.created",
        "invoice.finalized",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice.payment_failed",
        "invoice.voided",
        "invoice.marked_uncollectible",
        "invoice_payment.paid",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "customer.subscription.paused",
        "customer.subscription.resumed",
    }
)


Word = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
"""Stripe's own bound on ids; beyond it an index of Postgres might refuse the row."""
Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Of Unix, as far as years have four digits."""


class EventObject(msgspec.Struct, frozen=True):
    """The object an event speaks of, as far as its place in the order needs it."""

    object: Word
    id: Word | None = None
    payment_intent: str | dict[str, Any] | None = None
    invoice: str | dict[str, Any] | None = None


class EventData(msgspec.Struct, frozen=True):
    object: EventObject


class StripeEvent(msgspec.Struct, frozen=True):
    """The signed body of one delivery; `created` is Unix seconds."""

    id: Word
    type: Word
    created: Seconds
    data: EventData
    object: str = "event"
    api_version: str | None = None
    livemode: bool = False

    @property
    def occurred_at(self) -> datetime:
        return datetime.fromtimestamp(self.created, tz=UTC)


class Aggregate(NamedTuple):
    """What keeps its order: events of one aggregate reach one partition."""

    type: str
    id: str


def aggregate_of(event: StripeEvent) -> Aggregate:
    """The aggregate whose history the event belongs to; a type we do not know stands for itself."""
    subject = event.data.object
    if subject.object == "payment_intent" and subject.id:
        return Aggregate("payment", subject.id)
    if subject.object == "charge" and (payment := reference(subject.payment_intent) or subject.id):
        return Aggregate("payment", payment)
    if subject.object == "invoice" and subject.id:
        return Aggregate("invoice", subject.id)
    if subject.object == "invoice_payment" and (invoice := reference(subject.invoice)):
        return Aggregate("invoice", invoice)
    if subject.object == "subscription" and subject.id:
        return Aggregate("subscription", subject.id)
    return Aggregate(subject.object, subject.id or event.id)


def reference(value: str | dict[str, Any] | None) -> str | None:
    """The id behind a field that the API may have expanded into the whole object."""
    if isinstance(value, dict):
        found = value.get("id")
        return found if isinstance(found, str) else None
    return value
