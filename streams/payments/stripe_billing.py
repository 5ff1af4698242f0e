"""The facts of Stripe's invoices and subscriptions; an invoice states the payments that it names, too."""

from typing import Any, Final

import msgspec

from schemas.numbers import convert
from schemas.stripe import SOURCE
from streams.payments.facts import (
    UNSTATED,
    Before,
    Fact,
    InvoiceFact,
    InvoicePhase,
    Money,
    PaymentFact,
    Stamp,
    SubscriptionFact,
    money,
    user_in,
)
from streams.payments.stripe_objects import Invoice, InvoiceLine, InvoicePayment, Payment, Subscription, named

_INVOICE_RANKS: Final[dict[InvoicePhase, int]] = {"draft": 0, "open": 1, "uncollectible": 2, "void": 3, "paid": 4}
_LINK_RANK: Final = 5
_CREATED: Final = "invoice.created"
_DELETED: Final = "invoice.deleted"
_CREATED_RANK: Final = -1  # a draft often gets its first items in the second in which it was created
_ATTEMPT_FAILED: Final = "invoice.payment_failed"
_ATTEMPT_SUCCEEDED: Final = "invoice.payment_succeeded"
# A deleted draft is never collected, as a voided invoice is not.
_STATUSES: Final[dict[str, InvoicePhase]] = {**{phase: phase for phase in _INVOICE_RANKS}, "deleted": "void"}
_PHASES: Final[dict[str, InvoicePhase]] = {
    _CREATED: "draft",
    "invoice.paid": "paid",
    _ATTEMPT_SUCCEEDED: "paid",
    "invoice.voided": "void",
    _DELETED: "void",
    "invoice.marked_uncollectible": "uncollectible",
}


def of_invoice(invoice: Invoice, kind: str, at: int, event: str) -> list[Fact]:
    if invoice.id is None:
        return []
    phase = _phase_of(invoice, kind)
    stamp = Stamp(at, _CREATED_RANK if kind == _CREATED else _INVOICE_RANKS[phase], event)
    subscription, payments = _subscription_of(invoice), _payments_of(invoice)
    billed = money(invoice.amount_due, invoice.currency)
    fact = InvoiceFact(
        provider=SOURCE,
        id=invoice.id,
        stamp=stamp,
        phase=phase,
        billed=None if kind == _DELETED and billed == UNSTATED else billed,  # a deletion that we made states no amount
        amount_paid=_paid_of(invoice, phase),
        attempt=invoice.attempt_count or 0,
        failed=kind == _ATTEMPT_FAILED,
        customer_id=named(invoice.customer),
        user_id=_user_of(invoice),
        contact=invoice.customer_email or None,
        subscription_id=subscription,
        payment_id=next(reversed(payments), None),
    )
    vouched = _vouched_charges(invoice, fact)
    linked = [
        PaymentFact(
            provider=SOURCE,
            id=payment,
            stamp=stamp,
            progress="failed" if payment == _failed_charge(invoice, kind) else None,
            witnessed=True,
            second_hand=True,
            hinted=None if hint == UNSTATED else hint,
            vouched=vouched.get(payment),
            customer_id=fact.customer_id,
            user_id=fact.user_id,
            contact=fact.contact,
            invoice_id=invoice.id,
            subscription_id=subscription,
        )
        for payment, hint in payments.items()
    ]
    return [fact, *linked]


def _phase_of(invoice: Invoice, kind: str) -> InvoicePhase:
    """
    Return the phase by the invoice's status (or by the fields that it had before 2018-11-08), or by the type of the event if that
    comes later in the lifecycle.

    A deleted draft still has the status `draft`, and an attempt that pays a part leaves the invoice as it is. A status that
    Stripe adds later is ignored, and the other signs decide: the phases that our subscribers get are fixed.
    """
    unpaid = invoice.status in ("open", "uncollectible") and (invoice.amount_remaining or 0) > 0
    implied = None if kind == _ATTEMPT_SUCCEEDED and unpaid else _PHASES.get(kind)
    stated = _STATUSES.get(invoice.status or "") or ("paid" if invoice.paid else None)
    if implied is None and stated is None:
        return "uncollectible" if invoice.forgiven else "open"
    return max((phase for phase in (implied, stated) if phase is not None), key=_INVOICE_RANKS.__getitem__)


def _paid_of(invoice: Invoice, phase: InvoicePhase) -> int:
    """Return the paid amount. Before 2018 no invoice stated it: a paid one was paid in full."""
    if invoice.amount_paid is not None:
        return invoice.amount_paid
    return max(invoice.amount_due or 0, 0) if phase == "paid" else 0


def _failed_charge(invoice: Invoice, kind: str) -> str | None:
    """Return the charge without an intent of a failed attempt; a payment intent always states its failure by itself."""
    return named(invoice.charge) if kind == _ATTEMPT_FAILED and named(invoice.payment_intent) is None else None


def _vouched_charges(invoice: Invoice, fact: InvoiceFact) -> dict[str, Money]:
    """Return the charges without an intent that have paid the invoice; a payment intent always states its payment by itself."""
    listed = (invoice.payments.data or []) if invoice.payments else []
    vouched = {charge: paid for link in listed for charge, paid in _vouched_charge(link).items()}
    charge = named(invoice.charge)
    bare = named(invoice.payment_intent) is None and fact.phase == "paid" and fact.amount_paid > 0
    if charge is not None and bare and not invoice.paid_out_of_band:
        vouched[charge] = money(fact.amount_paid, invoice.currency)
    return vouched


def _vouched_charge(link: InvoicePayment) -> dict[str, Money]:
    charge = named(link.payment.charge) if link.payment and named(link.payment.payment_intent) is None else None
    paid = link.status == "paid" and bool(link.amount_paid)
    return {charge: money(link.amount_paid, link.currency)} if charge is not None and paid else {}


def of_invoice_payment(link: InvoicePayment, _: str, at: int, event: str) -> list[Fact]:
    invoice, payment = named(link.invoice), _paid_by(link.payment)
    stamp = Stamp(at, _LINK_RANK, event)
    stated = money(link.amount_requested, link.currency)
    requested = None if stated == UNSTATED else stated
    facts: list[Fact] = []
    if invoice is not None:
        facts.append(InvoiceFact(provider=SOURCE, id=invoice, stamp=stamp, hinted=requested, payment_id=payment))
    if payment is not None:
        vouched = _vouched_charge(link).get(payment)
        facts.append(PaymentFact(provider=SOURCE, id=payment, stamp=stamp, hinted=requested, vouched=vouched, invoice_id=invoice))
    return facts


# A subscription's states in the order of its lifecycle; the last two end it (https://docs.stripe.com/api/subscriptions/object).
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
_OTHER_RANK: Final = 6
_ENDED: Final = frozenset({"incomplete_expired", "canceled"})
_AFTER_CREATION: Final = 10
_SUBSCRIPTION_CREATED: Final = "customer.subscription.created"
# The status for an event that has none, by its type; else a word that no provider uses.
_STATUS_OF: Final = {
    "customer.subscription.deleted": "canceled",
    "customer.subscription.paused": "paused",
    "customer.subscription.resumed": "active",
}
_UNKNOWN: Final = "unknown"


def of_subscription(
    subscription: Subscription, kind: str, at: int, event: str, before: dict[str, Any] | None = None
) -> list[Fact]:
    """A status that is new to us is kept as it is."""
    if subscription.id is None:
        return []
    status = subscription.status or _STATUS_OF.get(kind, _UNKNOWN)
    ended = status in _ENDED
    rank = _SUBSCRIPTION_RANKS.get(status, _OTHER_RANK)
    if kind != _SUBSCRIPTION_CREATED and not ended:
        rank += _AFTER_CREATION
    return [
        SubscriptionFact(
            provider=SOURCE,
            id=subscription.id,
            stamp=Stamp(at, rank, event),
            status=status,
            ended=ended,
            current_period_end=_period_end_of(subscription),
            before=_before(before or {}),
            customer_id=named(subscription.customer),
        )
    ]


def _before(attributes: dict[str, Any]) -> Before:
    """The previous values in the event (https://docs.stripe.com/api/events/object#event_object-data-previous_attributes)."""
    try:
        was = convert(attributes, Subscription)
    except msgspec.ValidationError:  # values that no subscription can have are ignored
        return Before()
    return Before(was.status, _period_end_of(was))


def _period_end_of(subscription: Subscription) -> int | None:
    """Return the end of the paid period: in the new shape the latest of the items', which may differ."""
    if subscription.current_period_end is not None:
        return subscription.current_period_end
    items = subscription.items.data or [] if subscription.items else []
    return max((item.current_period_end for item in items if item.current_period_end is not None), default=None)


def _subscription_of(invoice: Invoice) -> str | None:
    parent = invoice.parent.subscription_details if invoice.parent else None
    found = named(invoice.subscription) or (named(parent.subscription) if parent else None)
    lines = invoice.lines.data or [] if invoice.lines else []
    return found or next((name for line in lines if (name := _subscription_in(line))), None)


def _subscription_in(line: InvoiceLine) -> str | None:
    details = line.parent and (line.parent.subscription_item_details or line.parent.invoice_item_details)
    return named(line.subscription) or (named(details.subscription) if details else None)


def _payments_of(invoice: Invoice) -> dict[str, Money]:
    """Return the payments that an invoice names, each with its requested amount; the last one counts."""
    links = (invoice.payments.data or []) if invoice.payments else []
    listed = sorted(links, key=lambda item: (item.status == "paid", bool(item.is_default)))
    requested = {paid: money(item.amount_requested, item.currency) for item in listed if (paid := _paid_by(item.payment))}
    if paid := _paid_by(Payment(invoice.payment_intent, invoice.charge)):
        due = None if invoice.amount_due is None else max(invoice.amount_due, 0)
        requested[paid] = money(due, invoice.currency)
    return requested


def _paid_by(payment: Payment | None) -> str | None:
    return (named(payment.payment_intent) or named(payment.charge)) if payment else None


def _user_of(invoice: Invoice) -> str | None:
    parent = invoice.parent.subscription_details if invoice.parent else None
    details = parent or invoice.subscription_details
    return user_in(invoice.metadata) or (user_in(details.metadata) if details else None)
