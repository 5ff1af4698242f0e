"""One event as Stripe sends it, signed as Stripe signs (https://docs.stripe.com/webhooks#verify-manually)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Final

import orjson

USER: Final = "demo-user"


def payment_succeeded(at: int) -> bytes:
    """A `payment_intent.succeeded` for 49.90 EUR, with new ids; `at` is Unix seconds."""
    return orjson.dumps(
        {
            "id": _id("evt"),
            "object": "event",
            "api_version": "2025-11-17.clover",
            "created": at,
            "data": {
                "object": {
                    "id": _id("pi"),
                    "object": "payment_intent",
                    "amount": 4990,
                    "amount_received": 4990,
                    "created": at - 30,
                    "currency": "eur",
                    "customer": _id("cus"),
                    "latest_charge": _id("ch"),
                    "livemode": False,
                    "metadata": {"user_id": USER, "order_id": _id("order")},
                    "status": "succeeded",
                }
            },
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": _id("req"), "idempotency_key": secrets.token_hex(16)},
            "type": "payment_intent.succeeded",
        },
        option=orjson.OPT_INDENT_2,
    )


def sign(body: bytes, secret: str) -> str:
    """The `Stripe-Signature` header of a body sent now."""
    now = int(time.time())
    signature = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={signature}"


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"
