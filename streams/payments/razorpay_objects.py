"""
Razorpay's entities as far as the fold needs them (https://razorpay.com/docs/webhooks/payments, …/refunds, …/subscriptions).

An event holds a snapshot of every entity named in its `contains`. An empty `notes` comes as `[]`, a filled one as an object.
"""

from typing import Annotated, Any, Literal

import msgspec

# Bounds checked because what becomes a key must fit into an index.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Word = Annotated[str, msgspec.Meta(max_length=500)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Instant = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800)]  # Unix seconds before the year 10000
Notes = dict[str, Any] | list[Any] | None

PaymentStatus = Literal["created", "authorized", "captured", "refunded", "failed"]
SubscriptionStatus = Literal[
    "created", "authenticated", "active", "pending", "halted", "paused", "cancelled", "completed", "expired"
]


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts in paise (the currency's minor unit); `amount_refunded` is the running total."""

    id: Id
    amount: Amount
    currency: Annotated[str, msgspec.Meta(min_length=3, max_length=3)]
    status: PaymentStatus
    amount_refunded: Amount | None = None
    captured: bool | None = None
    order_id: Id | None = None
    invoice_id: Id | None = None
    customer_id: Id | None = None
    email: Word | None = None
    notes: Notes = None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    id: Id
    payment_id: Id


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """`current_end` is missing until the first period has begun."""

    id: Id
    status: SubscriptionStatus
    customer_id: Id | None = None
    current_end: Instant | None = None
    notes: Notes = None


class PaymentHolder(msgspec.Struct, frozen=True):
    entity: Payment


class RefundHolder(msgspec.Struct, frozen=True):
    entity: Refund


class SubscriptionHolder(msgspec.Struct, frozen=True):
    entity: Subscription


class Payload(msgspec.Struct, frozen=True):
    payment: PaymentHolder | None = None
    refund: RefundHolder | None = None
    subscription: SubscriptionHolder | None = None


class Event(msgspec.Struct, frozen=True):
    """`created_at` is Unix seconds: several events of one entity often share one."""

    event: str
    created_at: Instant
    payload: Payload
