"""
A Razorpay that has no server: the events of a payment and a subscription as Razorpay would send them.

Bodies have the fields of real events, compact like Razorpay's, with empty notes as the `[]` that they are. Every builder takes
overrides for the entity inside the event; every life has random ids unless they are given.
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

START: Final = 1_763_561_586
MONTH: Final = 30 * 86_400
_FIRST_SECOND: Final = 1_388_534_400
"""Unix seconds, 2014-01-01; Razorpay's ids count from here."""

Entity = dict[str, Any]


def sign(body: bytes, secret: str) -> str:
    """The `X-Razorpay-Signature` header of a body (https://razorpay.com/docs/webhooks/validate-test)."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def random_id(prefix: str) -> str:
    """
    An id that looks like Razorpay's: `pay_DESlfW9H8K9uqM`; that of an event has no prefix.

    Its first ten letters are the nanoseconds since 2014 in base 62: `pay_Di5iqCqA1WEHq6`, a published example, has them for its
    `created_at` of 1574143644.
    """
    moment = base62(time.time_ns() - _FIRST_SECOND * 1_000_000_000, 10)
    return f"{prefix}{'_' if prefix else ''}{moment}{''.join(secrets.choice(DIGITS) for _ in range(4))}"


def event(kind: str, at: int, **entities: Entity) -> bytes:
    """Return the signed bytes of one event; its id is sent in a header."""
    return orjson.dumps(
        {
            "entity": "event",
            "account_id": "acc_BFQ7uQEaa7j2z7",
            "event": kind,
            "contains": list(entities),
            "payload": {name: {"entity": entity} for name, entity in entities.items()},
            "created_at": at,
        }
    )


@dataclass(frozen=True, kw_only=True)
class Payment:
    """The life of one payment, in paise; `at` is always Unix seconds."""

    id: str = field(default_factory=lambda: random_id("pay"))
    order: str | None = field(default_factory=lambda: random_id("order"))
    customer: str | None = field(default_factory=lambda: random_id("cust"))
    amount: int = 50_000
    currency: str = "INR"
    email: str = "payer@example.com"
    notes: dict[str, Any] | list[Any] = field(default_factory=list)
    invoice: str | None = None

    def authorized(self, at: int = START, **changes: Any) -> bytes:
        return event("payment.authorized", at, payment=self.entity(at, status="authorized", **changes))

    def captured(self, at: int = START, **changes: Any) -> bytes:
        return event("payment.captured", at, payment=self.entity(at, **{**self._settled(), **changes}))

    def failed(self, at: int = START, **changes: Any) -> bytes:
        error = {
            "error_code": "BAD_REQUEST_ERROR",
            "error_description": "Payment failed because the payer's bank declined it.",
            "error_source": "bank",
            "error_step": "payment_authorization",
            "error_reason": "payment_failed",
        }
        return event("payment.failed", at, payment=self.entity(at, status="failed", **error, **changes))

    def refunded(self, total: int, at: int = START, **changes: Any) -> bytes:
        """`refund.processed`; `total` is what has been refunded so far, this time included."""
        full = total >= self.amount
        settled = {
            **self._settled(),
            "status": "refunded" if full else "captured",
            "amount_refunded": total,
            "refund_status": "full" if full else "partial",
        }
        refund = self._refund(total, at)
        return event("refund.processed", at, refund=refund, payment=self.entity(at, **{**settled, **changes}))

    def refund(self, kind: str, amount: int, at: int = START, *, total: int, **changes: Any) -> bytes:
        """An event of the type about one refund; `total` is the payment's refunded amount so far."""
        full = total >= self.amount
        settled = {**self._settled(), "status": "refunded" if full else "captured", "amount_refunded": total}
        return event(kind, at, refund={**self._refund(amount, at), **changes}, payment=self.entity(at, **settled))

    def disputed(self, step: str, at: int = START, **changes: Any) -> bytes:
        dispute = {
            "id": f"disp_{self.id[4:]}",
            "entity": "dispute",
            "payment_id": self.id,
            "amount": self.amount,
            "currency": self.currency,
            "amount_deducted": 0,
            "reason_code": "chargeback",
            "respond_by": at + MONTH,
            "status": "open",
            "phase": "chargeback",
            "created_at": at,
        } | changes
        return event(f"payment.dispute.{step}", at, payment=self.entity(at, **self._settled()), dispute=dispute)

    def _refund(self, amount: int, at: int) -> Entity:
        return {
            "id": random_id("rfnd"),
            "entity": "refund",
            "amount": amount,
            "currency": self.currency,
            "payment_id": self.id,
            "notes": [],
            "receipt": None,
            "acquirer_data": {"arn": None},
            "created_at": at,
            "batch_id": None,
            "status": "processed",
            "speed_processed": "normal",
            "speed_requested": "normal",
        }

    def given_back(self, at: int = START) -> bytes:
        """The refund that Razorpay makes by itself, since the payment was not captured."""
        return self.refunded(self.amount, at, captured=False, fee=None, tax=None)

    def entity(self, at: int, **changes: Any) -> Entity:
        return {
            "id": self.id,
            "entity": "payment",
            "amount": self.amount,
            "currency": self.currency,
            "base_amount": self.amount,
            "status": "created",
            "order_id": self.order,
            "invoice_id": self.invoice,
            "international": False,
            "method": "upi",
            "amount_refunded": 0,
            "amount_transferred": 0,
            "refund_status": None,
            "captured": False,
            "description": "Order of the simulator",
            "card_id": None,
            "bank": None,
            "wallet": None,
            "vpa": "payer@upi",
            "email": self.email,
            "contact": "+919000090000",
            "customer_id": self.customer,
            "notes": self.notes,
            "fee": None,
            "tax": None,
            "error_code": None,
            "error_description": None,
            "error_source": None,
            "error_step": None,
            "error_reason": None,
            "acquirer_data": {"rrn": "232711440420"},
            "created_at": at,
        } | changes

    def _settled(self) -> Entity:
        return {"status": "captured", "captured": True, "fee": 1_180, "tax": 180}


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """The life of one monthly subscription; an event about a charge carries the payment too."""

    id: str = field(default_factory=lambda: random_id("sub"))
    customer: str | None = field(default_factory=lambda: random_id("cust"))
    notes: dict[str, Any] | list[Any] = field(default_factory=list)

    def authenticated(self, at: int = START, **changes: Any) -> bytes:
        return self._event("authenticated", at, None, {"status": "authenticated", "current_end": None, **changes})

    def activated(self, at: int = START, payment: Entity | None = None, **changes: Any) -> bytes:
        return self._event("activated", at, payment, changes)

    def charged(self, payment: Entity, at: int = START, **changes: Any) -> bytes:
        return self._event("charged", at, payment, changes)

    def updated(self, at: int = START, **changes: Any) -> bytes:
        return self._event("updated", at, None, changes)

    def pending(self, at: int = START, payment: Entity | None = None, **changes: Any) -> bytes:
        return self._event("pending", at, payment, {"status": "pending", **changes})

    def halted(self, at: int = START, **changes: Any) -> bytes:
        return self._event("halted", at, None, {"status": "halted", **changes})

    def paused(self, at: int = START, **changes: Any) -> bytes:
        return self._event("paused", at, None, {"status": "paused", **changes})

    def resumed(self, at: int = START, **changes: Any) -> bytes:
        return self._event("resumed", at, None, changes)

    def cancelled(self, at: int = START, **changes: Any) -> bytes:
        return self._event("cancelled", at, None, {"status": "cancelled", "ended_at": at, **changes})

    def completed(self, at: int = START, payment: Entity | None = None, **changes: Any) -> bytes:
        return self._event("completed", at, payment, {"status": "completed", "ended_at": at, **changes})

    def _event(self, step: str, at: int, payment: Entity | None, changes: Entity) -> bytes:
        entities = {"subscription": {**self._entity(at), **changes}} | ({"payment": payment} if payment else {})
        return event(f"subscription.{step}", at, **entities)

    def _entity(self, at: int) -> Entity:
        return {
            "id": self.id,
            "entity": "subscription",
            "plan_id": "plan_BvrFKjSxauOH7N",
            "customer_id": self.customer,
            "status": "active",
            "type": 2,
            "current_start": at,
            "current_end": at + MONTH,
            "ended_at": None,
            "quantity": 1,
            "notes": self.notes,
            "charge_at": at + MONTH,
            "start_at": at,
            "end_at": at + 12 * MONTH,
            "auth_attempts": 0,
            "total_count": 12,
            "paid_count": 1,
            "customer_notify": True,
            "created_at": at,
            "expire_by": None,
            "short_url": None,
            "has_scheduled_changes": False,
            "change_scheduled_at": None,
            "source": "api",
            "offer_id": None,
            "remaining_count": 11,
        }
