"""The facts of Stripe's payment intents, charges, refunds and checkout sessions."""

from typing import Any, Final

from schemas.numbers import whole
from schemas.stripe import SOURCE
from streams.payments.facts import (
    UNSTATED,
    Fact,
    InvoiceFact,
    Money,
    PaymentFact,
    Progress,
    RefundFact,
    Stamp,
    StatedRefund,
    Total,
    money,
    reference_in,
    text_of,
    user_in,
)
from streams.payments.stripe_objects import Charge, CheckoutSession, PaymentIntent, Reference, Refund, named

# Ranks within one second, by lifecycle: an attempt follows the creation, and the capture follows the attempts.
INTENT_STEPS: Final[dict[str, tuple[int, Progress | None]]] = {
    "payment_intent.created": (0, "pending"),
    "payment_intent.requires_action": (1, "pending"),
    "payment_intent.partially_funded": (1, "pending"),
    "payment_intent.processing": (2, "processing"),
    "payment_intent.amount_capturable_updated": (3, "processing"),
    "payment_intent.payment_failed": (4, "failed"),
    "payment_intent.canceled": (5, "canceled"),
    "payment_intent.succeeded": (6, None),
}
_FAILED_RANK: Final = 4
_PAID_RANK: Final = 6
_REFUND_RANK: Final = 7


def of_payment_intent(intent: PaymentIntent, kind: str, at: int, event: str) -> list[Fact]:
    if intent.id is None:
        return []
    rank, progress = INTENT_STEPS[kind]
    received = intent.amount if intent.amount_received is None else intent.amount_received
    return [
        PaymentFact(
            provider=SOURCE,
            id=intent.id,
            stamp=Stamp(at, rank, event),
            progress=progress,
            requested=_stated(intent.amount, intent.currency),
            captured=money(received, intent.currency) if kind == "payment_intent.succeeded" else None,
            reference=reference_in(intent.metadata),
            customer_id=named(intent.customer),
            user_id=user_in(intent.metadata),
            contact=intent.receipt_email or None,
            invoice_id=named(intent.invoice) or _invoice_behind(intent),
        )
    ]


def of_charge(charge: Charge, kind: str, at: int, event: str, before: dict[str, Any] | None = None) -> list[Fact]:
    """
    Return the facts of the charge's intent, or of the charge as a payment of its own; and of the refunds in the charge.

    The amount of an intent can change after a failed attempt, and the charge of that attempt keeps its own.
    """
    intent, amount = named(charge.payment_intent), _stated(charge.amount, charge.currency)
    payment = intent or charge.id
    if payment is None:
        return []
    rank, progress, captured = _progress_of(charge, kind)
    refunds = [refund for refund in (charge.refunds.data or [] if charge.refunds else []) if refund.id]
    fact = PaymentFact(
        provider=SOURCE,
        id=payment,
        stamp=Stamp(at, rank, event),
        progress=progress,
        witnessed=intent is not None,
        second_hand=intent is not None,
        requested=None if intent else amount,
        hinted=amount if intent else None,
        captured=captured,
        refunded=_total_of(charge, kind, at) if captured else None,
        refunds=tuple(part for refund in refunds for part in _stated_refunds(refund, _status_of(refund, kind))),
        refunded_whole=_whole_total_of(charge, kind, at) if captured and _rest_of(charge) else None,
        unreleased=captured.amount if captured and kind == _REFUNDED and _is_unreleased(charge, before or {}) else None,
        reference=reference_in(charge.metadata),
        customer_id=named(charge.customer),
        user_id=user_in(charge.metadata),
        contact=charge.receipt_email or None,
        invoice_id=named(charge.invoice),
    )
    return [fact, *(_refund_fact(refund, _status_of(refund, kind), payment, at, event) for refund in refunds)]


_REFUNDED: Final = "charge.refunded"
_CHARGE_STEPS: Final[dict[str, tuple[int, Progress | None]]] = {
    "pending": (2, "processing"),
    "authorised": (3, "processing"),
    "failed": (4, "failed"),
    "expired": (5, "canceled"),
    "released": (5, "canceled"),
    "captured": (_PAID_RANK, None),
}
# A changed description, or a refund, does not change the progress of the charge's intent.
_LATER: Final = frozenset({"charge.updated", _REFUNDED})


def _progress_of(charge: Charge, kind: str) -> tuple[int, Progress | None, Money | None]:
    """The state of the charge: rank, progress, and the captured amount."""
    own, step = named(charge.payment_intent) is None, _step_of(charge, kind)
    rank, progress = _CHARGE_STEPS[step]
    captured = _captured(charge, kind, own=own) if step == "captured" else None
    return _REFUND_RANK if kind == _REFUNDED else rank, progress if own or kind not in _LATER else None, captured


def _step_of(charge: Charge, kind: str) -> str:
    """
    Return the step of the first sign that holds; the type of the event comes before the fields of the charge.

    A pending charge, such as a SEPA debit, is not paid either, so `paid` decides only after `status`.
    """
    refunded = charge.amount_refunded or 0
    implied = kind == _REFUNDED or (charge.amount_captured or 0) > 0
    signs = (
        ("expired", kind == "charge.expired"),
        ("captured", kind == "charge.captured"),
        ("failed", kind == "charge.failed" or charge.status == "failed"),
        ("pending", kind == "charge.pending" or charge.status == "pending"),
        ("failed", charge.paid is False),
        ("captured", implied if charge.captured is None else charge.captured),
        ("released", 0 < (charge.amount or 0) <= refunded),
    )
    return next((step for step, holds in signs if holds), "authorised")


def _captured(charge: Charge, kind: str, *, own: bool) -> Money | None:
    """Return the captured amount; None while more of an intent's charge may be captured: the intent states the final amount."""
    captured = charge.amount if charge.amount_captured is None else charge.amount_captured
    open_rest = (charge.amount or 0) - (captured or 0) > (charge.amount_refunded or 0)
    return None if open_rest and not own and kind != _REFUNDED else money(captured, charge.currency)


def _total_of(charge: Charge, kind: str, at: int) -> Total | None:
    """Return the refunded total without the rest of a partial capture, which is no refund but may be included."""
    whole_total, rest = _whole_total_of(charge, kind, at), _rest_of(charge)
    return whole_total and whole_total._replace(amount=whole_total.amount - (rest if whole_total.amount >= rest else 0))


def _whole_total_of(charge: Charge, kind: str, at: int) -> Total | None:
    return None if charge.amount_refunded is None else Total(at, charge.amount_refunded, after_failures=kind != _REFUNDED)


def _rest_of(charge: Charge) -> int:
    captured = charge.amount if charge.amount_captured is None else charge.amount_captured
    return max((charge.amount or 0) - (captured or 0), 0)


def _is_unreleased(charge: Charge, before: dict[str, Any]) -> bool:
    """
    Return true if the total with a refund, or the one before it, is smaller than what the capture released.

    Since its API of 2025-03-31 Stripe makes no refund of a release
    (https://docs.stripe.com/changelog/basil/2025-03-31/remove-refund-from-partial-capture-and-payment-cancellation-flow); until
    then it is the first refund, of just that amount.
    """
    total, was, rest = charge.amount_refunded or 0, whole(before.get("amount_refunded")), _rest_of(charge)
    return total < rest or (was is not None and was < rest and (was > 0 or total != rest))


_GONE: Final = frozenset({"failed", "canceled"})
_REFUND_RANKS: Final = {"pending": 0, "requires_action": 1, "succeeded": 3, "canceled": 4, "failed": 5}
_OTHER_RANK: Final = 2
# Stripe makes refunds of released amounts too, which were never captured.
_RELEASES: Final = frozenset({"partial_capture", "expired_uncaptured_charge"})


def of_refund(refund: Refund, kind: str, at: int, event: str) -> list[Fact]:
    """Return the facts of the refund and of its payment; a charge without an intent is a payment of its own."""
    if refund.id is None:
        return []
    payment, status = payment_of(refund.payment_intent, refund.charge), _status_of(refund, kind)
    facts: list[Fact] = [_refund_fact(refund, status, payment, at, event)]
    if payment is not None:
        stamp = Stamp(at, _REFUND_RANK, event)
        facts.append(PaymentFact(provider=SOURCE, id=payment, stamp=stamp, refunds=_stated_refunds(refund, status)))
    return facts


def _status_of(refund: Refund, kind: str) -> str:
    return "failed" if kind == "refund.failed" else refund.status or "pending"


def _stated_refunds(refund: Refund, status: str) -> tuple[StatedRefund, ...]:
    if refund.id is None or refund.reason in _RELEASES:
        return ()
    return (StatedRefund(refund.id, refund.amount or 0, refund.created, status in _GONE),)


def _refund_fact(refund: Refund, status: str, payment: str | None, at: int, event: str) -> RefundFact:
    return RefundFact(
        provider=SOURCE,
        id=refund.id or "",
        stamp=Stamp(at, _REFUND_RANKS.get(status, _OTHER_RANK), event),
        status=status,
        gone=status in _GONE,
        amount=money(refund.amount, refund.currency),
        created=refund.created,
        reason=refund.reason,
        failure_reason=refund.failure_reason,
        payment_id=payment,
    )


_SESSION_FAILED: Final = "checkout.session.async_payment_failed"


def of_checkout_session(session: CheckoutSession, kind: str, at: int, event: str) -> list[Fact]:
    """
    Return the facts of the payment and of the invoice that the session created: their payer.

    A paid session vouches for its payment until the payment states its own capture.
    """
    payment, invoice = named(session.payment_intent), named(session.invoice)
    total = _stated(session.amount_total, session.currency)
    email = session.customer_details.email if session.customer_details else None
    contact, user = email or session.customer_email or None, user_in(session.metadata) or text_of(session.client_reference_id)
    facts: list[Fact] = []
    if payment is not None:
        failed = kind == _SESSION_FAILED
        fact = PaymentFact(
            provider=SOURCE,
            id=payment,
            stamp=Stamp(at, _FAILED_RANK, event),
            progress="failed" if failed else None,
            second_hand=True,
            hinted=total,
            vouched=total if session.payment_status == "paid" and not failed else None,
            reference=reference_in(session.metadata),
            customer_id=named(session.customer),
            user_id=user,
            contact=contact,
            invoice_id=invoice,
            subscription_id=named(session.subscription),
        )
        facts.append(fact)
    if invoice is not None:
        facts.append(
            InvoiceFact(
                provider=SOURCE,
                id=invoice,
                stamp=Stamp(at, 0, event),
                hinted=total,
                customer_id=named(session.customer),
                user_id=user,
                contact=contact,
                subscription_id=named(session.subscription),
                payment_id=payment,
            )
        )
    return facts


def payment_of(intent: Reference, charge: Reference) -> str | None:
    """An expanded charge names its intent too."""
    behind = charge.get("payment_intent") if isinstance(charge, dict) else None
    return named(intent) or (named(behind) if isinstance(behind, str | dict) else None) or named(charge)


def _stated(amount: int | None, currency: str | None) -> Money | None:
    stated = money(amount, currency)
    return None if stated == UNSTATED else stated


def _invoice_behind(intent: PaymentIntent) -> str | None:
    named_order = named(intent.payment_details.order_reference) if intent.payment_details else None
    return named_order if named_order is not None and named_order.startswith("in_") else None
