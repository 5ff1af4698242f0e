"""What a Razorpay event says, as facts. A snapshot of a payment speaks for itself, whichever event carries it."""

import hashlib
from typing import Any, Final

import msgspec

from schemas.razorpay import HANDLED_TYPES, SOURCE
from streams.errors import Poison
from streams.payments.facts import Fact, Money, PaymentFact, Progress, Stamp, SubscriptionFact
from streams.payments.razorpay_objects import Event, Notes, Payment, Subscription

_decoder: Final = msgspec.json.Decoder(Event)


def facts_of(kind: str, body: bytes) -> list[Fact]:
    """
    The facts of the event of that Razorpay type; none for a type that has no handler.

    Raises Poison with reason `event_malformed` where the body is not such an event, `event_mislabeled` where it is another.
    """
    if kind not in HANDLED_TYPES:
        return []
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Poison("event_malformed", str(error)) from error
    if event.event != kind:
        raise Poison("event_mislabeled", f"an event recorded as {kind} says it is {event.event!r}")
    # The id is not in what is signed; the digest of the body is as unique, and the same whenever the log is read again.
    name = hashlib.sha256(body).hexdigest()
    noun = kind.partition(".")[0]
    if noun == "subscription":
        return _of_subscription(event, name)
    return [_of_refund(event, name) if noun == "refund" else _of_payment(_payment_in(event), event, name)]


# Within one second, the order of a life: an attempt that failed may still be authorised, late; and money follows authority.
_STEPS: Final[dict[str, tuple[int, Progress | None]]] = {
    "created": (0, "pending"),
    "failed": (1, "failed"),
    "authorized": (2, "processing"),
    "captured": (3, None),
    "refunded": (4, None),
}
_NOBODY: Final = "void@razorpay.com"  # stands where the payer gave no address


def _of_payment(payment: Payment, event: Event, name: str, subscription: Subscription | None = None) -> PaymentFact:
    """
    The standing of a payment at the time of the event.

    `captured` counts only where the status says that there was time for it: snapshots of an authorised payment carry either.
    What was authorised and never captured is given back by Razorpay itself, which is no refund but an end.
    """
    rank, progress = _STEPS[payment.status]
    refunded = payment.status == "refunded"
    in_hand = payment.status == "captured" or (refunded and payment.captured is not False)
    amount = Money(payment.amount, payment.currency.lower())
    return PaymentFact(
        provider=SOURCE,
        id=payment.id,
        stamp=Stamp(event.created_at, rank, name),
        progress="canceled" if refunded and not in_hand else progress,
        asked=amount,
        captured=amount if in_hand else None,
        reference=_word_in(payment.notes, "reference", "order_id") or payment.order_id,
        customer_id=payment.customer_id or (subscription.customer_id if subscription else None),
        user_id=_word_in(payment.notes, "user_id", "userId") or (_user_of(subscription) if subscription else None),
        contact=None if payment.email == _NOBODY else payment.email or None,
        invoice_id=payment.invoice_id,
        subscription_id=subscription.id if subscription else None,
    )


def _of_refund(event: Event, name: str) -> PaymentFact:
    """The payment's running total, which holds refunds still under way too; a total that shrinks again is not followed."""
    payment, refund = _payment_in(event), event.payload.refund
    if refund is None or refund.entity.payment_id != payment.id:
        raise Poison("event_malformed", "a refund event holds no refund of the payment that it holds")
    fact = _of_payment(payment, event, name)
    total = payment.amount_refunded or 0
    stamp = Stamp(event.created_at, _STEPS["refunded"][0], name)
    return msgspec.structs.replace(fact, stamp=stamp, amount_refunded=total if fact.captured else 0)


# Within one second, the order of a life; what has ended stays so (https://razorpay.com/docs/payments/subscriptions/states).
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
_AFTER_ALL: Final = 10


def _of_subscription(event: Event, name: str) -> list[Fact]:
    """Of the subscription, and of the payment that was tried before the event, where there was one."""
    holder = event.payload.subscription
    if holder is None:
        raise Poison("event_malformed", "a subscription event holds no subscription")
    subscription = holder.entity
    ended = subscription.status in _ENDED
    told = SubscriptionFact(
        provider=SOURCE,
        id=subscription.id,
        stamp=Stamp(event.created_at, _RANKS[event.event] + (_AFTER_ALL if ended else 0), name),
        status=subscription.status,
        ended=ended,
        current_period_end=subscription.current_end,
        customer_id=subscription.customer_id,
    )
    tried = event.payload.payment
    return [told, _of_payment(tried.entity, event, name, subscription)] if tried else [told]


def _payment_in(event: Event) -> Payment:
    if event.payload.payment is None:
        raise Poison("event_malformed", f"an event {event.event} holds no payment")
    return event.payload.payment.entity


def _user_of(subscription: Subscription) -> str | None:
    return _word_in(subscription.notes, "user_id", "userId")


def _word_in(notes: Notes, *names: str) -> str | None:
    """The first note of these names; notes are the merchant's own and may hold anything, so what is no word is passed over."""
    if not isinstance(notes, dict):
        return None
    return next((word for name in names if (word := _worded(notes.get(name)))), None)


_WORD_MAX: Final = 500


def _worded(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and 0 < len(value) <= _WORD_MAX else None
