"""
A Stripe that has no server: the events of a payment, an invoice and a subscription as Stripe would send them.

Bodies have the fields of real events in the API's shape before and after 2025-03-31 ("basil"), pretty-printed like Stripe's.
Every builder takes overrides for the object inside the event; every life has random ids unless they are given.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tests.simulators.base62 import DIGITS, base62
from tests.simulators.stripe_objects import (
    DAY,
    Object,
    Shape,
    charge_object,
    dispute_object,
    invoice_object,
    invoice_payment_object,
    payment_intent_object,
    refund_object,
    subscription_object,
)

START: Final = 1_763_561_586
FIRST_SECOND: Final = 1_342_389_380
"""Unix seconds; Stripe's ids count from here."""
_ACCOUNT: Final = "TaLLyHooK1"


def sign(body: bytes, secret: str, now: float) -> str:
    """The `Stripe-Signature` header of a body sent at `now`, Unix seconds (https://docs.stripe.com/webhooks#verify-manually)."""
    signed = f"{int(now)}.".encode() + body
    return f"t={int(now)},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def random_id(prefix: str) -> str:
    """An id that looks like Stripe's: `pi_3…`."""
    return f"{prefix}_{new_token(time.time())}"


def new_token(at: float) -> str:
    """
    The part of a new id after its prefix: 24 letters and digits, of which the first six say when the object was made.

    So it is in Stripe's own ids: in eight pairs of `id` and `created` that are published, from 2019 to 2026, the five letters
    after the first one are the seconds since 2012-07-15T21:56:20Z in base 62, without an exception. An account's part follows,
    and eight random letters. Keys of new objects are therefore neighbours in an index.
    """
    return f"3{base62(int(at) - FIRST_SECOND, 5)}{_ACCOUNT}{''.join(secrets.choice(DIGITS) for _ in range(8))}"


def event(kind: str, subject: Object, *, at: int, shape: Shape = Shape.NEW, event_id: str | None = None, **data: Any) -> bytes:
    """The signed bytes of one event; `data` goes beside the object (`previous_attributes`)."""
    return orjson.dumps(
        {
            "id": event_id or random_id("evt"),
            "object": "event",
            "api_version": str(shape),
            "created": at,
            "data": {"object": subject, **data},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": random_id("req"), "idempotency_key": secrets.token_hex(16)},
            "type": kind,
        },
        option=orjson.OPT_INDENT_2,
    )


@dataclass(frozen=True, kw_only=True)
class Payment:
    """The life of one payment intent; `at` is always Unix seconds. With an `invoice`, it pays that."""

    id: str = field(default_factory=lambda: random_id("pi"))
    charge: str = field(default_factory=lambda: random_id("ch"))
    customer: str | None = field(default_factory=lambda: random_id("cus"))
    amount: int = 1999
    currency: str = "usd"
    metadata: dict[str, str] = field(default_factory=dict)
    receipt_email: str | None = None
    invoice: str | None = None
    shape: Shape = Shape.NEW

    def created(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._intent("created", at, event_id, {"status": "requires_payment_method", **changes})

    def requires_action(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
        return self._intent("requires_action", at, event_id, {"status": "requires_action", "next_action": action, **changes})

    def processing(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._intent("processing", at, event_id, {"status": "processing", **changes})

    def capturable(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        held = {"status": "requires_capture", "capture_method": "manual", "amount_capturable": self.amount}
        return self._intent("amount_capturable_updated", at, event_id, {**held, "latest_charge": self.charge, **changes})

    def failed(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        error = {
            "charge": self.charge,
            "code": "card_declined",
            "decline_code": "generic_decline",
            "doc_url": "https://stripe.com/docs/error-codes/card-declined",
            "message": "Your card was declined.",
            "type": "card_error",
        }
        return self._intent(
            "payment_failed", at, event_id, {"status": "requires_payment_method", "last_payment_error": error, **changes}
        )

    def succeeded(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        paid = {"status": "succeeded", "amount_received": self.amount, "latest_charge": self.charge}
        return self._intent("succeeded", at, event_id, {**paid, "payment_method": random_id("pm"), **changes})

    def canceled(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        ended = {"status": "canceled", "canceled_at": at, "cancellation_reason": "abandoned"}
        return self._intent("canceled", at, event_id, {**ended, **changes})

    def refunded(self, total: int, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        """`total` is what has been refunded so far, this time included."""
        charge = {**charge_object(self, at), "amount_refunded": total, "refunded": total >= self.amount, **changes}
        return event("charge.refunded", charge, at=at, shape=self.shape, event_id=event_id)

    def adjusted(self, total: int, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        """`charge.updated`, with the total that is left once a refund has failed."""
        charge = {**charge_object(self, at), "amount_refunded": total, "refunded": total >= self.amount, **changes}
        return event("charge.updated", charge, at=at, shape=self.shape, event_id=event_id)

    def refund(self, kind: str, amount: int, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        """An event of the type about one refund; `created` is when it was made, if that is not `at`."""
        return event(kind, {**refund_object(self, amount, at), **changes}, at=at, shape=self.shape, event_id=event_id)

    def disputed(self, step: str, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        dispute = {**dispute_object(self, at), **changes}
        return event(f"charge.dispute.{step}", dispute, at=at, shape=self.shape, event_id=event_id)

    def _intent(self, step: str, at: int, event_id: str | None, changes: Object) -> bytes:
        subject = {**payment_intent_object(self, at), **changes}
        return event(f"payment_intent.{step}", subject, at=at, shape=self.shape, event_id=event_id)


@dataclass(frozen=True, kw_only=True)
class Invoice:
    """The life of one invoice, of a subscription where it has one."""

    id: str = field(default_factory=lambda: random_id("in"))
    customer: str = field(default_factory=lambda: random_id("cus"))
    subscription: str | None = None
    payment: str | None = None
    amount: int = 2990
    currency: str = "eur"
    customer_email: str | None = "payer@example.com"
    metadata: dict[str, str] = field(default_factory=dict)
    shape: Shape = Shape.NEW

    def created(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("created", at, event_id, {"status": "draft", **changes})

    def finalized(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("finalized", at, event_id, {"status": "open", **changes})

    def updated(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("updated", at, event_id, {"status": "open", **changes})

    def payment_failed(self, at: int = START, attempt: int = 1, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event(
            "payment_failed", at, event_id, {"status": "open", "attempted": True, "attempt_count": attempt, **changes}
        )

    def paid(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("paid", at, event_id, {**self._settled(at), **changes})

    def payment_succeeded(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("payment_succeeded", at, event_id, {**self._settled(at), **changes})

    def voided(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("voided", at, event_id, {"status": "void", **changes})

    def marked_uncollectible(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("marked_uncollectible", at, event_id, {"status": "uncollectible", **changes})

    def paid_by(self, payment: str, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        """`invoice_payment.paid`, which exists in the new shape only."""
        link = {**invoice_payment_object(self, payment, at), **changes}
        return event("invoice_payment.paid", link, at=at, shape=Shape.NEW, event_id=event_id)

    def _settled(self, at: int) -> Object:
        transitions = {"finalized_at": at, "marked_uncollectible_at": None, "paid_at": at, "voided_at": None}
        return {
            "status": "paid",
            "amount_paid": self.amount,
            "amount_remaining": 0,
            "attempted": True,
            "status_transitions": transitions,
        }

    def _event(self, step: str, at: int, event_id: str | None, changes: Object) -> bytes:
        subject = {**invoice_object(self, at), **changes}
        return event(f"invoice.{step}", subject, at=at, shape=self.shape, event_id=event_id)


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """The life of one monthly subscription."""

    id: str = field(default_factory=lambda: random_id("sub"))
    item: str = field(default_factory=lambda: random_id("si"))
    customer: str = field(default_factory=lambda: random_id("cus"))
    amount: int = 2990
    currency: str = "eur"
    period: int = 30 * DAY
    shape: Shape = Shape.NEW

    def created(self, at: int = START, status: str = "incomplete", event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("created", at, event_id, {"status": status, **changes})

    def updated(self, at: int = START, status: str = "active", event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("updated", at, event_id, {"status": status, **changes})

    def paused(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("paused", at, event_id, {"status": "paused", **changes})

    def resumed(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("resumed", at, event_id, {"status": "active", **changes})

    def deleted(self, at: int = START, event_id: str | None = None, **changes: Any) -> bytes:
        return self._event("deleted", at, event_id, {"status": "canceled", "canceled_at": at, "ended_at": at, **changes})

    def _event(self, step: str, at: int, event_id: str | None, changes: Object) -> bytes:
        subject = {**subscription_object(self, at), **changes}
        return event(f"customer.subscription.{step}", subject, at=at, shape=self.shape, event_id=event_id)
