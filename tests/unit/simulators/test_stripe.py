"""The simulator's deliveries are like Stripe's: Stripe's library accepts the signature, and the bytes have the same form."""

from __future__ import annotations

import json
import time

import pytest
import stripe

from tests.simulators.stripe import Invoice, Payment, Subscription, sign

BODIES = {
    "payment_intent.succeeded": Payment().succeeded(),
    "charge.refunded": Payment().refunded(1),
    "invoice.paid": Invoice(subscription="sub_1").paid(),
    "customer.subscription.created": Subscription().created(),
}


@pytest.mark.parametrize("kind", BODIES)
def test_stripes_own_library_takes_the_signature(kind: str) -> None:
    header = sign(BODIES[kind], "whsec_test", time.time())
    assert stripe.Webhook.construct_event(BODIES[kind], header, "whsec_test").type == kind


def test_another_secret_signs_otherwise() -> None:
    body = BODIES["charge.refunded"]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, sign(body, "whsec_other", time.time()), "whsec_test")


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_are_printed_and_as_long_as_stripes(kind: str) -> None:
    body = BODIES[kind]
    assert body.decode() == json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    assert 1_500 < len(body) < 5_000
