"""
Stripe's objects as far as the fold needs them, in both shapes of the API.

Before 2025-03-31 ("basil") an invoice named its subscription and its payment intent, a payment intent its invoice, and a
subscription its period. Since then an invoice names its `parent`, its `payments` are objects of their own, and periods belong
to subscription items (https://docs.stripe.com/changelog/basil). Fields of both shapes stand side by side here, all optional.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from streams.payments.facts import InvoicePhase

# Bounds of Stripe's own (https://docs.stripe.com/api/metadata), checked because what becomes a key must fit into an index.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Metadata = dict[str, Annotated[str, msgspec.Meta(max_length=500)]] | None

Reference = Id | dict[str, Any] | None
"""An id, or the whole object where the API expanded it; `schemas.stripe.reference` tells."""

Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Instant = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800)]  # Unix seconds before the year 10000
Item = TypeVar("Item")


class List(msgspec.Struct, Generic[Item], frozen=True):
    """The first page of a list; the rest would have to be fetched."""

    data: list[Item]


class PaymentDetails(msgspec.Struct, frozen=True):
    """In the new shape `order_reference` holds the invoice's id where an invoice made the payment intent."""

    order_reference: str | None = None


class PaymentIntent(msgspec.Struct, frozen=True, kw_only=True):
    id: Id
    amount: Amount
    currency: str
    amount_received: Amount = 0
    customer: Reference = None
    receipt_email: str | None = None
    metadata: Metadata = None
    invoice: Reference = None
    payment_details: PaymentDetails | None = None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """`amount_refunded` is the running total, and holds what a partial capture gave back too."""

    id: Id
    amount: Amount
    amount_refunded: Amount
    currency: str
    captured: bool
    amount_captured: Amount | None = None
    payment_intent: Reference = None
    customer: Reference = None
    receipt_email: str | None = None
    metadata: Metadata = None
    invoice: Reference = None


class SubscriptionDetails(msgspec.Struct, frozen=True):
    subscription: Reference = None
    metadata: Metadata = None


class InvoiceParent(msgspec.Struct, frozen=True):
    subscription_details: SubscriptionDetails | None = None


class LineParent(msgspec.Struct, frozen=True):
    subscription_item_details: SubscriptionDetails | None = None
    invoice_item_details: SubscriptionDetails | None = None


class InvoiceLine(msgspec.Struct, frozen=True):
    subscription: Reference = None
    parent: LineParent | None = None


class Payment(msgspec.Struct, frozen=True):
    """What paid an invoice: a payment intent, a bare charge, or a record of a payment made elsewhere."""

    payment_intent: Reference = None
    charge: Reference = None


class InvoicePayment(msgspec.Struct, frozen=True, kw_only=True):
    invoice: Reference
    amount_requested: Amount
    currency: str
    payment: Payment
    status: str | None = None
    is_default: bool = False


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    id: Id
    status: InvoicePhase
    currency: str
    amount_due: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    amount_paid: Amount
    attempt_count: Amount = 0
    customer: Reference = None
    customer_email: str | None = None
    metadata: Metadata = None
    subscription: Reference = None
    subscription_details: SubscriptionDetails | None = None
    payment_intent: Reference = None
    charge: Reference = None
    parent: InvoiceParent | None = None
    payments: List[InvoicePayment] | None = None
    lines: List[InvoiceLine] | None = None


class SubscriptionItem(msgspec.Struct, frozen=True):
    current_period_end: Instant | None = None


SubscriptionStatus = Literal["incomplete", "trialing", "active", "past_due", "unpaid", "paused", "incomplete_expired", "canceled"]


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    id: Id
    status: SubscriptionStatus
    customer: Reference = None
    current_period_end: Instant | None = None
    items: List[SubscriptionItem] | None = None


Subject = TypeVar("Subject")


class Data(msgspec.Struct, Generic[Subject], frozen=True):
    object: Subject


class Event(msgspec.Struct, Generic[Subject], frozen=True):
    """`created` is Unix seconds: several events of one object often share one."""

    id: Id
    type: str
    created: Instant
    data: Data[Subject]
