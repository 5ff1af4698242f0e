"""`./dev demo` shows the whole journey of a real event."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ops.demo.journey import follow
from ops.demo.stripe import payment_succeeded, sign
from ops.stack.errors import StackError
from tests.system import ADMIN, STRIPE_SECRET

if TYPE_CHECKING:
    from tests.system import System


def journey_of(system: System, secret: str) -> list[str]:
    body = payment_succeeded(int(time.time()))
    headers = {"Content-Type": "application/json", "Stripe-Signature": sign(body, secret)}
    url, token = f"{system.public}/v1/webhooks/stripe", ADMIN["X-Internal-Token"]
    found = follow(url=url, body=body, headers=headers, internal=system.internal, admin_token=token, kafka=system.kafka)
    assert [station.milliseconds for station in found.stations] == sorted(station.milliseconds for station in found.stations)
    return [f"{station.what} | {station.where}" for station in found.stations]


def test_the_demo_follows_a_payment_to_its_last_event(system: System) -> None:
    lines = journey_of(system, STRIPE_SECRET)
    assert lines[0].startswith("answered 200 | durable in Postgres")
    assert any("com.stripe.payment_intent.succeeded | Kafka: webhooks.stripe" in line for line in lines)
    assert any("billing.payment.succeeded | Kafka: billing.payment.events" in line for line in lines)
    assert any("succeeded, 49.90 EUR, reconciliation unexpected" in line for line in lines)


def test_the_demo_says_why_it_was_refused(system: System) -> None:
    with pytest.raises(StackError, match="signature_wrong"):
        journey_of(system, "whsec_of_somebody_else")
