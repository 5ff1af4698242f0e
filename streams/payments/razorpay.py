"""The facts of Razorpay's events. A snapshot of a payment states a fact of that payment, whatever event it comes in."""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from schemas.foreign_json import UNREADABLE, Decoder
from schemas.razorpay import HANDLED_TYPES, SOURCE
from streams.errors import Poison, PoisonReason
from streams.payments.facts import (
    UNSTATED,
    DisputeFact,
    Fact,
    Funds,
    PaymentFact,
    Progress,
    RefundFact,
    Stamp,
    StatedRefund,
    SubscriptionFact,
    Total,
    money,
    note_left_out,
    reference_in,
    user_in,
)
from streams.payments.razorpay_objects import Dispute, Event, Payment, Refund, Subscription

_decoder: Final = Decoder(Event)


def facts_of(kind: str, body: bytes) -> list[Fact]:
    """
    Return the facts of an event of that Razorpay type; none for a type that has no handler.

    Raises Poison with reason `event_malformed` if the body is no such event, `event_mislabeled` if it is of another type.
    """
    if kind not in HANDLED_TYPES:
        return []
    try:
        event, left_out = _decoder.read(body)
    except UNREADABLE as error:
        raise Poison(PoisonReason.EVENT_MALFORMED, str(error)) from error
    if event.event != kind:
        raise Poison(PoisonReason.EVENT_MISLABELED, f"an event recorded as {kind} states the type {event.event!r}")
    # The signature does not cover the id; the digest of the body is as unique, and the same whenever the log is read again.
    name = hashlib.sha256(body).hexdigest()
    note_left_out(left_out, provider_event=name, type=kind)
    return _TRANSLATORS[kind.rpartition(".")[0]](event, name)


# Ranks within one second, by lifecycle: a failed attempt may still be authorised late, and a capture follows its authorisation.
_STEPS: Final[dict[str, tuple[int, Progress | None]]] = {
    "created": (0, "pending"),
    "failed": (1, "failed"),
    "authorized": (2, "processing"),
    "captured": (3, None),
    "refunded": (4, None),
}
_OTHER_STEP: Final = (0, None)
_NO_ADDRESS: Final = "void@razorpay.com"  # the address of a payer who gave none


def _of_payment(event: Event, name: str) -> list[Fact]:
    return [_payment_fact(event.payment, event, name)] if event.payment else []


def _payment_fact(payment: Payment, event: Event, name: str, subscription: Subscription | None = None) -> PaymentFact:
    """
    The state of a payment at the time of the event.

    `captured` counts only if the status allows it: snapshots of an authorised payment have either value. Razorpay returns by
    itself what was authorised and never captured; that is no refund, but the end of the payment.
    """
    about, _, step = event.event.rpartition(".")
    status = payment.status or (step if about == "payment" else "")
    rank, progress = _STEPS.get(status, _OTHER_STEP)
    refunded = status == "refunded"
    in_hand = status == "captured" or (refunded and payment.captured is not False)
    amount = money(payment.amount, payment.currency)
    return PaymentFact(
        provider=SOURCE,
        id=payment.id,
        stamp=Stamp(event.created_at, rank, name),
        progress="canceled" if refunded and not in_hand else progress,
        requested=None if amount == UNSTATED else amount,
        captured=amount if in_hand else None,
        reference=reference_in(payment.notes) or payment.order_id,
        customer_id=payment.customer_id or (subscription.customer_id if subscription else None),
        user_id=user_in(payment.notes) or (user_in(subscription.notes) if subscription else None),
        contact=None if payment.email == _NO_ADDRESS else payment.email or None,
        invoice_id=payment.invoice_id,
        subscription_id=subscription.id if subscription else None,
    )


# Razorpay's words for the states of a refund, as the words that all providers share; any other is kept as it is.
_REFUND_STATUSES: Final = {"processed": "succeeded"}
_REFUND_RANKS: Final = {"pending": 0, "succeeded": 2, "failed": 3}
_OTHER_RANK: Final = 1
_GONE: Final = frozenset({"failed"})


def _of_refund(event: Event, name: str) -> list[Fact]:
    """The facts of the refund and of its payment, whose running total includes refunds that are still under way."""
    payment, refund = event.payment, event.refund
    if payment and refund and refund.payment_id not in {None, payment.id}:
        raise Poison(PoisonReason.EVENT_MALFORMED, "a refund event holds a payment that is not the refund's")
    paid = payment.id if payment else refund.payment_id if refund else None
    fact = _payment_fact(payment, event, name) if payment else None
    if fact is None and paid is not None:
        fact = PaymentFact(provider=SOURCE, id=paid, stamp=Stamp(event.created_at, _STEPS["refunded"][0], name))
    status = _refund_status(refund, event) if refund else ""
    facts: list[Fact] = []
    if refund:
        facts.append(_refund_fact(refund, status, paid, event, name))
    if fact:
        total = payment.amount_refunded if payment and fact.captured else None
        facts.append(
            msgspec.structs.replace(
                fact,
                stamp=Stamp(event.created_at, _STEPS["refunded"][0], name),
                refunded=None if total is None else Total(event.created_at, total),
                refunds=(StatedRefund(refund.id, refund.amount or 0, refund.created_at, status in _GONE),) if refund else (),
            )
        )
    return facts


def _refund_status(refund: Refund, event: Event) -> str:
    if event.event == "refund.failed":
        return "failed"
    word = refund.status or ("processed" if event.event == "refund.processed" else "pending")
    return _REFUND_STATUSES.get(word, word)


def _refund_fact(refund: Refund, status: str, payment: str | None, event: Event, name: str) -> RefundFact:
    return RefundFact(
        provider=SOURCE,
        id=refund.id,
        stamp=Stamp(event.created_at, _REFUND_RANKS.get(status, _OTHER_RANK), name),
        status=status,
        gone=status in _GONE,
        amount=money(refund.amount, refund.currency),
        created=refund.created_at,
        payment_id=payment,
    )


# By the type of the event: its rank within one second, and the status if the dispute states none.
_DISPUTE_STEPS: Final = {
    "created": (0, "open"),
    "action_required": (1, "open"),
    "under_review": (2, "under_review"),
    "won": (13, "won"),
    "lost": (14, "lost"),
    "closed": (15, "closed"),
}
_DISPUTE_ENDS: Final = frozenset({"won", "lost", "closed"})


def _of_dispute(event: Event, name: str) -> list[Fact]:
    dispute = event.dispute
    if dispute is None:
        return _of_payment(event, name)
    step = event.event.rpartition(".")[2]
    rank, otherwise = _DISPUTE_STEPS[step]
    status = dispute.status or otherwise
    fact = DisputeFact(
        provider=SOURCE,
        id=dispute.id,
        stamp=Stamp(event.created_at, rank, name),
        status=status,
        ended=step in _DISPUTE_ENDS or status in _DISPUTE_ENDS,
        amount=money(dispute.amount, dispute.currency),
        reason=dispute.reason_code,
        payment_id=dispute.payment_id or (event.payment.id if event.payment else None),
        respond_by=dispute.respond_by or None,  # 0 is no time
        funds=_funds(dispute),
    )
    return [fact, *_of_payment(event, name)]


def _funds(dispute: Dispute) -> Funds | None:
    """Razorpay deducts the amount at the latest when the dispute is lost, and nothing if it is not lost."""
    if dispute.amount_deducted is None:
        return None
    return "withdrawn" if dispute.amount_deducted else "not_withdrawn"


# Ranks within one second, by lifecycle; an end is final (https://razorpay.com/docs/payments/subscriptions/states).
_RANKS: Final = {
    "subscription.authenticated": 0,
    "subscription.activated": 1,
    "subscription.charged": 2,
    "subscription.updated": 3,
    "subscription.pending": 4,
    "subscription.halted": 5,
    "subscription.paused": 6,
    "subscription.resumed": 7,
    "subscription.completed": 8,
    "subscription.cancelled": 9,
}
_ENDED: Final = frozenset({"cancelled", "completed", "expired"})
_END_OFFSET: Final = 10
# The status where the subscription states none.
_STATUSES: Final = {
    "subscription.authenticated": "authenticated",
    "subscription.activated": "active",
    "subscription.charged": "active",
    "subscription.pending": "pending",
    "subscription.halted": "halted",
    "subscription.paused": "paused",
    "subscription.resumed": "active",
    "subscription.completed": "completed",
    "subscription.cancelled": "cancelled",
}


def _of_subscription(event: Event, name: str) -> list[Fact]:
    """The facts of the subscription, and of the payment that was tried before the event, if there was one."""
    subscription = event.subscription
    if subscription is None:
        return _of_payment(event, name)
    status = subscription.status or _STATUSES.get(event.event, "unknown")
    ended = status in _ENDED
    fact = SubscriptionFact(
        provider=SOURCE,
        id=subscription.id,
        stamp=Stamp(event.created_at, _RANKS[event.event] + (_END_OFFSET if ended else 0), name),
        status=status,
        ended=ended,
        current_period_end=subscription.current_end,
        customer_id=subscription.customer_id,
    )
    tried = event.payment
    return [fact, _payment_fact(tried, event, name, subscription)] if tried else [fact]


_TRANSLATORS: Final[dict[str, Callable[[Event, str], list[Fact]]]] = {
    "payment": _of_payment,
    "refund": _of_refund,
    "payment.dispute": _of_dispute,
    "subscription": _of_subscription,
}
