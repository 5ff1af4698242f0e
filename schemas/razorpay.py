"""
A Razorpay event as far as everyone needs it: what happened, when, and to which entity (https://razorpay.com/docs/webhooks).

The body names no id of its own: that stands in a header, which is not signed.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.stripe import Aggregate, Seconds, Word

SOURCE: Final = "razorpay"
TYPE_PREFIX: Final = "com.razorpay."
DATASCHEMA: Final = "urn:tallyhook:com.razorpay.event:1"

# What the payments worker folds. Anything else is acknowledged and stored, and can be replayed once it has a handler.
HANDLED_TYPES: Final = frozenset(
    {
        "payment.authorized",
        "payment.captured",
        "payment.failed",
        "refund.processed",
        "subscription.authenticated",
        "subscription.activated",
        "subscription.charged",
        "subscription.updated",
        "subscription.pending",
        "subscription.halted",
        "subscription.paused",
        "subscription.resumed",
        "subscription.cancelled",
        "subscription.completed",
    }
)


class Entity(msgspec.Struct, frozen=True):
    """What an event speaks of, as far as its place in the order needs it; a refund names its payment."""

    id: Word | None = None
    payment_id: Word | None = None


class Holder(msgspec.Struct, frozen=True):
    entity: Entity = Entity()


class RazorpayEvent(msgspec.Struct, frozen=True):
    """The signed body of one delivery; `created_at` is Unix seconds, `payload` has an entity for each word in `contains`."""

    event: Word
    created_at: Seconds
    payload: dict[str, Holder]
    account_id: str | None = None
    contains: list[str] = []

    @property
    def occurred_at(self) -> datetime:
        return datetime.fromtimestamp(self.created_at, tz=UTC)


def aggregate_of(event: RazorpayEvent, event_id: str) -> Aggregate:
    """The aggregate whose history the event belongs to: a refund is its payment's; what has no entity stands for itself."""
    noun = event.event.partition(".")[0]
    subject = _entity(event, noun)
    if noun == "refund" and (payment := subject.payment_id or _entity(event, "payment").id):
        return Aggregate("payment", payment)
    return Aggregate(noun, subject.id or event_id)


def _entity(event: RazorpayEvent, name: str) -> Entity:
    holder = event.payload.get(name)
    return holder.entity if holder else Entity()
