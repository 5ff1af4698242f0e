"""
A Razorpay event as far as every process needs it: its type, its time and its entity (https://razorpay.com/docs/webhooks).

The body has no id: the id comes in a header, which is not signed.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from schemas.providers import Aggregate, Credential, Message, Provider, Seconds, Signature, WebhookSecret, Word

SOURCE: Final = "razorpay"
TYPE_PREFIX: Final = "com.razorpay."
DATASCHEMA: Final = "urn:tallyhook:com.razorpay.event:1"

# The types that the payments worker folds. Any other event is acknowledged and stored, and can be replayed once it has a handler.
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
    """The aggregate of the event: of a refund its payment; without an entity the event itself."""
    noun = event.event.partition(".")[0]
    if noun == "refund" and (payment := _word(event, "refund", "payment_id") or _word(event, "payment", "id")):
        return Aggregate("payment", payment)
    if event.event.startswith("payment.dispute."):
        return Aggregate("dispute", _word(event, "dispute", "id") or event_id)
    return Aggregate(noun, _word(event, noun, "id") or event_id)


def _word(event: RazorpayEvent, entity: str, field: str) -> str | None:
    """A field of an entity in the payload; None if it is missing, or cannot be an id."""
    found: Any = event.payload
    for step in (entity, "entity", field):
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, str) and found else None


PROVIDER: Final = Provider(
    name="razorpay",
    title="Razorpay",
    type_prefix=TYPE_PREFIX,
    handled_types=HANDLED_TYPES,
    messages=(Message("com.razorpay.event", RazorpayEvent, DATASCHEMA, sorted(HANDLED_TYPES)),),
    examples=(
        RazorpayEvent(
            event="payment.captured",
            created_at=1_795_514_400,
            account_id="acc_1Q",
            contains=["payment"],
            payload={
                "payment": {
                    "entity": {
                        "id": "pay_1Q",
                        "entity": "payment",
                        "amount": 4990,
                        "currency": "INR",
                        "status": "captured",
                        "captured": True,
                        "amount_refunded": 0,
                        "created_at": 1_795_514_390,
                        "notes": [],
                    }
                }
            },
        ),
    ),
    description="Receive an event from Razorpay.\n\nThe answer is sent after the commit; a copy of a known event, by its id "
    "or its body, is a `duplicate`.",
    signature=Signature("X-Razorpay-Signature", "`<hex>`: HMAC-SHA256 of the raw body under the webhook's secret.", timed=False),
    secret=WebhookSecret(
        expected="the secret that was given to Razorpay's webhook",
        overlap=timedelta(hours=24),  # older events come again under the secret that first signed them (see gives_up)
        steps=(
            "{first}",
            "Set it at the webhook in Razorpay's dashboard: new events are signed with it, older ones with the old one for 24 h.",
            "{last}",
        ),
    ),
    gives_up=timedelta(hours=24),  # and then it disables the webhook as well: https://razorpay.com/docs/webhooks/faqs
    id_prefixes=("pay", "order", "inv", "rfnd", "sub", "txn"),
    account_prefix="acc_",
    event_id_header="X-Razorpay-Event-Id",
    credentials=(Credential("razorpay key", re.compile(r"rzp_(?:live|test)_.*"), "is a key id of Razorpay"),),
)
