"""
A Razorpay event as far as everyone needs it: what happened, when, and to which entity (https://razorpay.com/docs/webhooks).

The body names no id of its own: that stands in a header, which is not signed.
"""

from datetime import UTC, datetime
from typing import Any, Final

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
        "payment.dispute.created",
        "payment.dispute.action_required",
        "payment.dispute.under_review",
        "payment.dispute.won",
        "payment.dispute.lost",
        "payment.dispute.closed",
        "refund.created",
        "refund.processed",
        "refund.failed",
        "refund.speed_changed",
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


class RazorpayEvent(msgspec.Struct, frozen=True):
    """
    An event as Razorpay sends it, byte for byte (https://razorpay.com/docs/webhooks).

    An event about an account has neither `payload` nor `contains`. The body names neither its id nor the mode: each mode
    has its own webhooks with their own secrets (https://razorpay.com/docs/payments/dashboard/test-live-modes).
    """

    event: Word  #: The type, such as `payment.captured`.
    created_at: Seconds  #: When it happened, in Unix seconds.
    payload: dict[str, Any] | list[Any] | None = None  #: One entity for each word of `contains`; an empty payload may be a list.
    account_id: str | None = None  #: Razorpay's id of the account, `acc_…`.
    contains: list[str] | None = None  #: The names of the entities in `payload`.

    @property
    def occurred_at(self) -> datetime:
        return datetime.fromtimestamp(self.created_at, tz=UTC)


def aggregate_of(event: RazorpayEvent, event_id: str) -> Aggregate:
    """The aggregate whose history the event belongs to: a refund is its payment's; what has no entity stands for itself."""
    noun = event.event.partition(".")[0]
    if noun == "refund" and (payment := _word(event, "refund", "payment_id") or _word(event, "payment", "id")):
        return Aggregate("payment", payment)
    if event.event.startswith("payment.dispute."):
        return Aggregate("dispute", _word(event, "dispute", "id") or event_id)
    return Aggregate(noun, _word(event, noun, "id") or event_id)


def _word(event: RazorpayEvent, entity: str, field: str) -> str | None:
    """A field of an entity in the payload; None where it is not there, or could be no id."""
    found: Any = event.payload
    for step in (entity, "entity", field):
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, str) and found else None
