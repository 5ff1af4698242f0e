"""What a Stripe event says, as facts: one event may speak of several objects, or link them."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from schemas.stripe import SOURCE, reference
from streams.errors import Poison
from streams.payments.facts import Fact, InvoiceFact, Money, PaymentFact, Progress, Stamp, SubscriptionFact
from streams.payments.stripe_objects import (
    Charge,
    Event,
    Invoice,
    InvoicePayment,
    Metadata,
    Payment,
    PaymentIntent,
    Subscription,
)

Subject = TypeVar("Subject")
Translate = Callable[[bytes, str], list[Fact]]


def facts_of(kind: str, body: bytes) -> list[Fact]:
    """
    The facts of the event of that Stripe type; none for a type that has no handler.

    Raises Poison with reason `event_malformed` where the body is not such an event, `event_mislabeled` where it is another.
    """
    translate = TRANSLATORS.get(kind)
    return translate(body, kind) if translate else []


# Within one second, the order of a life: an attempt follows the making, and the money follows the attempts.
_PAYMENT_STEPS: Final[dict[str, tuple[int, Progress | None]]] = {
    "payment_intent.created": (0, "pending"),
    "payment_intent.requires_action": (1, "pending"),
    "payment_intent.processing": (2, "processing"),
    "payment_intent.amount_capturable_updated": (3, "processing"),
    "payment_intent.payment_failed": (4, "failed"),
    "payment_intent.canceled": (5, "canceled"),
    "payment_intent.succeeded": (6, None),
}
_REFUND_RANK: Final = 7
_CAPTURED: Final = "payment_intent.succeeded"


def _of_payment_intent(event: Event[PaymentIntent]) -> list[Fact]:
    intent = event.data.object
    rank, progress = _PAYMENT_STEPS[event.type]
    return [
        PaymentFact(
            provider=SOURCE,
            id=intent.id,
            stamp=Stamp(event.created, rank, event.id),
            progress=progress,
            asked=Money(intent.amount, intent.currency),
            captured=Money(intent.amount_received, intent.currency) if event.type == _CAPTURED else None,
            reference=_reference_in(intent.metadata),
            customer_id=reference(intent.customer),
            user_id=_user_in(intent.metadata),
            contact=intent.receipt_email,
            invoice_id=reference(intent.invoice) or _invoice_behind(intent),
        )
    ]


def _of_charge(event: Event[Charge]) -> list[Fact]:
    """Giving back what was only authorised is no refund, neither of a whole charge nor of what a partial capture left."""
    charge = event.data.object
    captured = charge.amount if charge.amount_captured is None else charge.amount_captured
    given_back = charge.amount_refunded - (charge.amount - captured)
    return [
        PaymentFact(
            provider=SOURCE,
            id=reference(charge.payment_intent) or charge.id,
            stamp=Stamp(event.created, _REFUND_RANK, event.id),
            asked=Money(charge.amount, charge.currency),
            captured=Money(captured, charge.currency) if charge.captured else None,
            amount_refunded=max(given_back, 0) if charge.captured else 0,
            reference=_reference_in(charge.metadata),
            customer_id=reference(charge.customer),
            user_id=_user_in(charge.metadata),
            contact=charge.receipt_email,
            invoice_id=reference(charge.invoice),
        )
    ]


_INVOICE_RANKS: Final = {"draft": 0, "open": 1, "uncollectible": 2, "void": 3, "paid": 4}
_LINK_RANK: Final = 5
_ATTEMPT_FAILED: Final = "invoice.payment_failed"


def _of_invoice(event: Event[Invoice]) -> list[Fact]:
    invoice = event.data.object
    stamp = Stamp(event.created, _INVOICE_RANKS[invoice.status], event.id)
    subscription = _subscription_of(invoice)
    payments = _payments_of(invoice)
    told = InvoiceFact(
        provider=SOURCE,
        id=invoice.id,
        stamp=stamp,
        phase=invoice.status,
        billed=Money(invoice.amount_due, invoice.currency),
        amount_paid=invoice.amount_paid,
        attempt=invoice.attempt_count,
        failed=event.type == _ATTEMPT_FAILED,
        customer_id=reference(invoice.customer),
        user_id=_user_of(invoice),
        contact=invoice.customer_email,
        subscription_id=subscription,
        payment_id=next(reversed(payments), None),
    )
    linked = [
        PaymentFact(
            provider=SOURCE,
            id=payment,
            stamp=stamp,
            hinted=hint,
            customer_id=told.customer_id,
            user_id=told.user_id,
            contact=told.contact,
            invoice_id=invoice.id,
            subscription_id=subscription,
        )
        for payment, hint in payments.items()
    ]
    return [told, *linked]


def _of_invoice_payment(event: Event[InvoicePayment]) -> list[Fact]:
    link = event.data.object
    invoice = reference(link.invoice)
    if invoice is None:
        raise Poison("event_malformed", "an invoice payment names no invoice")
    payment = _paid_by(link.payment)
    stamp = Stamp(event.created, _LINK_RANK, event.id)
    asked = Money(link.amount_requested, link.currency)
    facts: list[Fact] = [InvoiceFact(provider=SOURCE, id=invoice, stamp=stamp, hinted=asked, payment_id=payment)]
    if payment is not None:
        facts.append(PaymentFact(provider=SOURCE, id=payment, stamp=stamp, hinted=asked, invoice_id=invoice))
    return facts


# A subscription's states in the order of a life; the last two end it (https://docs.stripe.com/api/subscriptions/object).
_SUBSCRIPTION_RANKS: Final = {
    "incomplete": 0,
    "trialing": 1,
    "active": 2,
    "past_due": 3,
    "unpaid": 4,
    "paused": 5,
    "incomplete_expired": 20,
    "canceled": 21,
}
_ENDED: Final = frozenset({"incomplete_expired", "canceled"})
_AFTER_CREATION: Final = 10
_SUBSCRIPTION_CREATED: Final = "customer.subscription.created"


def _of_subscription(event: Event[Subscription]) -> list[Fact]:
    subscription = event.data.object
    rank = _SUBSCRIPTION_RANKS[subscription.status]
    if event.type != _SUBSCRIPTION_CREATED and subscription.status not in _ENDED:
        rank += _AFTER_CREATION
    return [
        SubscriptionFact(
            provider=SOURCE,
            id=subscription.id,
            stamp=Stamp(event.created, rank, event.id),
            status=subscription.status,
            ended=subscription.status in _ENDED,
            current_period_end=_period_end_of(subscription),
            customer_id=reference(subscription.customer),
        )
    ]


def _period_end_of(subscription: Subscription) -> int | None:
    """The end of the period that is paid for: in the new shape the latest of the items', which may differ."""
    if subscription.current_period_end is not None:
        return subscription.current_period_end
    items = subscription.items.data if subscription.items else []
    return max((item.current_period_end for item in items if item.current_period_end is not None), default=None)


def _subscription_of(invoice: Invoice) -> str | None:
    parent = invoice.parent.subscription_details if invoice.parent else None
    found = reference(invoice.subscription) or (reference(parent.subscription) if parent else None)
    if found is not None or invoice.lines is None:
        return found
    for line in invoice.lines.data:
        details = line.parent and (line.parent.subscription_item_details or line.parent.invoice_item_details)
        if named := reference(line.subscription) or (reference(details.subscription) if details else None):
            return named
    return None


def _payments_of(invoice: Invoice) -> dict[str, Money]:
    """The payments that an invoice names, each with the amount it was asked for; the last is the one that counts."""
    listed = sorted(invoice.payments.data if invoice.payments else [], key=lambda item: (item.status == "paid", item.is_default))
    asked = {paid: Money(item.amount_requested, item.currency) for item in listed if (paid := _paid_by(item.payment))}
    if paid := _paid_by(Payment(invoice.payment_intent, invoice.charge)):
        asked[paid] = Money(max(invoice.amount_due, 0), invoice.currency)
    return asked


def _paid_by(payment: Payment) -> str | None:
    return reference(payment.payment_intent) or reference(payment.charge)


def _invoice_behind(intent: PaymentIntent) -> str | None:
    named = intent.payment_details.order_reference if intent.payment_details else None
    return named if named is not None and named.startswith("in_") else None


def _user_of(invoice: Invoice) -> str | None:
    parent = invoice.parent.subscription_details if invoice.parent else None
    details = parent or invoice.subscription_details
    return _user_in(invoice.metadata) or (_user_in(details.metadata) if details else None)


def _reference_in(metadata: Metadata) -> str | None:
    return (metadata.get("reference") or metadata.get("order_id") or None) if metadata else None


def _user_in(metadata: Metadata) -> str | None:
    return (metadata.get("user_id") or metadata.get("userId") or None) if metadata else None


def _reader(shape: Any, translate: Callable[[Event[Subject]], list[Fact]]) -> Translate:
    decoder: msgspec.json.Decoder[Event[Subject]] = msgspec.json.Decoder(shape)

    def read(body: bytes, kind: str) -> list[Fact]:
        try:
            event = decoder.decode(body)
        except msgspec.DecodeError as error:
            raise Poison("event_malformed", str(error)) from error
        if event.type != kind:
            raise Poison("event_mislabeled", f"an event recorded as {kind} says it is {event.type!r}")
        return translate(event)

    return read


_INVOICE: Final = _reader(Event[Invoice], _of_invoice)
_SUBSCRIPTION: Final = _reader(Event[Subscription], _of_subscription)

TRANSLATORS: Final[dict[str, Translate]] = {
    **dict.fromkeys(_PAYMENT_STEPS, _reader(Event[PaymentIntent], _of_payment_intent)),
    "charge.refunded": _reader(Event[Charge], _of_charge),
    "invoice_payment.paid": _reader(Event[InvoicePayment], _of_invoice_payment),
    **dict.fromkeys(
        (
            "invoice.created",
            "invoice.finalized",
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded",
            "invoice.payment_failed",
            "invoice.voided",
            "invoice.marked_uncollectible",
        ),
        _INVOICE,
    ),
    **dict.fromkeys(
        (
            "customer.subscription.created",
            "customer.subscription.updated",
            "customer.subscription.deleted",
            "customer.subscription.paused",
            "customer.subscription.resumed",
        ),
        _SUBSCRIPTION,
    ),
}
