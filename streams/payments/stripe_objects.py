"""
Stripe's objects as far as the fold needs them, in both shapes of the API.

Before 2025-03-31 ("basil") an invoice named its subscription and its payment intent, a payment intent its invoice, and a
subscription its period. Since then an invoice names its `parent`, its `payments` are objects of their own, and periods belong
to subscription items (https://docs.stripe.com/changelog/basil). Before 2018-11-08 an invoice had no status, but `paid`,
`closed` and `forgiven`. The classes here have the fields of all shapes, and each may be missing or null: Stripe's own
description promises hardly any of them for ever, and may add values
(https://docs.stripe.com/upgrades#what-changes-does-stripe-consider-to-be-backwards-compatible).
"""

from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from schemas.foreign_json import NEEDED, State, Truth
from schemas.stripe import reference
from streams.payments.facts import Notes

# Bounds of Stripe's own (https://docs.stripe.com/api/metadata), checked because what becomes a key must fit into an index.
_ID_MAX: Final = 255
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=_ID_MAX)]

Name = Annotated[Id, msgspec.Meta(extra=NEEDED)]
"""The id of an object that is folded."""

Reference = str | dict[str, Any] | None
"""An id, or the whole object if the API expanded it; `named` returns the id."""

Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1, extra=NEEDED)]
Signed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1, extra=NEEDED)]
Instant = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800, extra=NEEDED)]  # Unix seconds before the year 10000
Item = TypeVar("Item")


class List(msgspec.Struct, Generic[Item], frozen=True):
    """The first page of a list; the rest would have to be fetched."""

    data: list[Item] | None = None


class PaymentDetails(msgspec.Struct, frozen=True):
    """`order_reference` is the invoice's id in the new shape, if an invoice made the payment intent."""

    order_reference: str | None = None


class PaymentIntent(msgspec.Struct, frozen=True, kw_only=True):
    id: Name | None = None
    amount: Amount | None = None
    currency: str | None = None
    amount_received: Amount | None = None
    customer: Reference = None
    receipt_email: str | None = None
    metadata: Notes = None
    invoice: Reference = None
    payment_details: PaymentDetails | None = None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """`charge` alone names the payment where the API is older than payment intents, or the charge has none."""

    id: Name | None = None
    amount: Amount | None = None
    currency: str | None = None
    status: State | None = None
    reason: str | None = None
    failure_reason: str | None = None
    created: Instant | None = None
    charge: Reference = None
    payment_intent: Reference = None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """
    `amount_refunded` is the running total, and includes what a partial capture released.

    `refunds` has the newest refunds in API versions before 2022-11-15, and in later ones if it was expanded.
    """

    id: Name | None = None
    amount: Amount | None = None
    amount_refunded: Amount | None = None
    currency: str | None = None
    captured: Truth | None = None
    paid: Truth | None = None
    status: State | None = None
    amount_captured: Amount | None = None
    payment_intent: Reference = None
    customer: Reference = None
    receipt_email: str | None = None
    metadata: Notes = None
    invoice: Reference = None
    refunds: List[Refund] | None = None


class EvidenceDetails(msgspec.Struct, frozen=True):
    due_by: Instant | None = None


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    id: Name | None = None
    amount: Amount | None = None
    currency: str | None = None
    status: State | None = None
    reason: str | None = None
    charge: Reference = None
    payment_intent: Reference = None
    evidence_details: EvidenceDetails | None = None


class CustomerDetails(msgspec.Struct, frozen=True):
    email: str | None = None


class CheckoutSession(msgspec.Struct, frozen=True, kw_only=True):
    """A payment page that a payer was sent to: it names the objects that it created."""

    id: Name | None = None
    payment_status: State | None = None
    amount_total: Amount | None = None
    currency: str | None = None
    payment_intent: Reference = None
    subscription: Reference = None
    invoice: Reference = None
    customer: Reference = None
    customer_email: str | None = None
    customer_details: CustomerDetails | None = None
    client_reference_id: str | None = None
    metadata: Notes = None


class SubscriptionDetails(msgspec.Struct, frozen=True):
    subscription: Reference = None
    metadata: Notes = None


class InvoiceParent(msgspec.Struct, frozen=True):
    subscription_details: SubscriptionDetails | None = None


class LineParent(msgspec.Struct, frozen=True):
    subscription_item_details: SubscriptionDetails | None = None
    invoice_item_details: SubscriptionDetails | None = None


class InvoiceLine(msgspec.Struct, frozen=True):
    subscription: Reference = None
    parent: LineParent | None = None


class Payment(msgspec.Struct, frozen=True):
    """The payment of an invoice: a payment intent, a bare charge, or a record of a payment made elsewhere."""

    payment_intent: Reference = None
    charge: Reference = None


class InvoicePayment(msgspec.Struct, frozen=True, kw_only=True):
    invoice: Reference = None
    amount_requested: Amount | None = None
    amount_paid: Amount | None = None
    currency: str | None = None
    payment: Payment | None = None
    status: State | None = None
    is_default: bool | None = None


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    id: Name | None = None
    status: State | None = None
    paid: Truth | None = None
    forgiven: Truth | None = None
    paid_out_of_band: Truth | None = None
    currency: str | None = None
    amount_due: Signed | None = None
    amount_paid: Amount | None = None
    amount_remaining: int | None = None
    attempt_count: Amount | None = None
    customer: Reference = None
    customer_email: str | None = None
    metadata: Notes = None
    subscription: Reference = None
    subscription_details: SubscriptionDetails | None = None
    payment_intent: Reference = None
    charge: Reference = None
    parent: InvoiceParent | None = None
    payments: List[InvoicePayment] | None = None
    lines: List[InvoiceLine] | None = None


class SubscriptionItem(msgspec.Struct, frozen=True):
    current_period_end: Instant | None = None


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    id: Name | None = None
    status: State | None = None
    customer: Reference = None
    current_period_end: Instant | None = None
    items: List[SubscriptionItem] | None = None


Subject = TypeVar("Subject")


class Data(msgspec.Struct, Generic[Subject], frozen=True):
    object: Annotated[Subject, msgspec.Meta(extra=NEEDED)] | None = None
    previous_attributes: dict[str, Any] | None = None


class Event(msgspec.Struct, Generic[Subject], frozen=True):
    """`created` is Unix seconds: several events of one object often share one."""

    id: Id
    type: str
    created: Instant
    data: Annotated[Data[Subject], msgspec.Meta(extra=NEEDED)] | None = None


def named(value: Reference) -> str | None:
    """Return the id in a reference; None if it cannot be a key."""
    found = reference(value)
    return found if found is not None and 0 < len(found) <= _ID_MAX else None
