"""The facts of Stripe's events: one event may state several objects, or link them."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from schemas.foreign_json import UNREADABLE, Decoder
from streams.errors import Poison, PoisonReason
from streams.payments import stripe_billing as billing
from streams.payments import stripe_disputes as disputes
from streams.payments import stripe_payments as payments
from streams.payments.facts import Fact, note_left_out
from streams.payments.stripe_objects import (
    Charge,
    CheckoutSession,
    Dispute,
    Event,
    Invoice,
    InvoicePayment,
    PaymentIntent,
    Refund,
    Subscription,
)

Subject = TypeVar("Subject")
Translate = Callable[[bytes, str], list[Fact]]


def facts_of(kind: str, body: bytes) -> list[Fact]:
    """
    Return the facts of an event of that Stripe type; none for a type that has no handler, or if the event names no object.

    Raises Poison with reason `event_malformed` if the body is no such event, `event_mislabeled` if it is of another type.
    """
    translate = TRANSLATORS.get(kind)
    return translate(body, kind) if translate else []


def _reader(shape: Any, translate: Callable[[Event[Subject], Subject], list[Fact]]) -> Translate:
    decoder: Decoder[Event[Subject]] = Decoder(shape)

    def read(body: bytes, kind: str) -> list[Fact]:
        try:
            event, left_out = decoder.read(body)
        except UNREADABLE as error:
            raise Poison(PoisonReason.EVENT_MALFORMED, str(error)) from error
        if event.type != kind:
            raise Poison(PoisonReason.EVENT_MISLABELED, f"an event recorded as {kind} states the type {event.type!r}")
        note_left_out(left_out, provider_event=event.id, type=kind)
        subject = event.data.object if event.data else None
        return [] if subject is None else translate(event, subject)

    return read


def _plain(shape: Any, facts_in: Callable[[Subject, str, int, str], list[Fact]]) -> Translate:
    def translate(event: Event[Subject], subject: Subject) -> list[Fact]:
        return facts_in(subject, event.type, event.created, event.id)

    return _reader(shape, translate)


def _of_charge(event: Event[Charge], charge: Charge) -> list[Fact]:
    before = event.data.previous_attributes if event.data else None
    return payments.of_charge(charge, event.type, event.created, event.id, before)


def _of_subscription(event: Event[Subscription], subscription: Subscription) -> list[Fact]:
    before = event.data.previous_attributes if event.data else None
    return billing.of_subscription(subscription, event.type, event.created, event.id, before)


def _types(prefix: str, names: Iterable[str], translate: Translate) -> dict[str, Translate]:
    return {f"{prefix}.{name}": translate for name in names}


_CHARGES: Final = ("succeeded", "failed", "captured", "pending", "expired", "updated", "refunded")
_DISPUTES: Final = ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
_SESSIONS: Final = ("completed", "async_payment_succeeded", "async_payment_failed", "expired")
_INVOICES: Final = (
    "created",
    "finalized",
    "finalization_failed",
    "updated",
    "sent",
    "will_be_due",
    "overdue",
    "paid",
    "overpaid",
    "payment_succeeded",
    "payment_failed",
    "payment_action_required",
    "payment_attempt_required",
    "voided",
    "marked_uncollectible",
    "deleted",
)
_SUBSCRIPTIONS: Final = (
    "created",
    "updated",
    "deleted",
    "paused",
    "resumed",
    "trial_will_end",
    "pending_update_applied",
    "pending_update_expired",
)

_REFUND: Final = _plain(Event[Refund], payments.of_refund)

TRANSLATORS: Final[dict[str, Translate]] = {
    **dict.fromkeys(payments.INTENT_STEPS, _plain(Event[PaymentIntent], payments.of_payment_intent)),
    **_types("charge", _CHARGES, _reader(Event[Charge], _of_charge)),
    **_types("refund", ("created", "updated", "failed"), _REFUND),
    "charge.refund.updated": _REFUND,
    **_types("charge.dispute", _DISPUTES, _plain(Event[Dispute], disputes.of_dispute)),
    **_types("checkout.session", _SESSIONS, _plain(Event[CheckoutSession], payments.of_checkout_session)),
    **_types("invoice", _INVOICES, _plain(Event[Invoice], billing.of_invoice)),
    "invoice_payment.paid": _plain(Event[InvoicePayment], billing.of_invoice_payment),
    **_types("customer.subscription", _SUBSCRIPTIONS, _reader(Event[Subscription], _of_subscription)),
}
