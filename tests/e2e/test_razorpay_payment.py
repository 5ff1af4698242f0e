"""Razorpay's events from HTTP to their effects, on real servers and real processes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from tests.e2e.test_stripe_payment import read_json, records_about, state_of
from tests.sender import post_razorpay
from tests.simulators.razorpay import Payment, Subscription, random_id
from tests.system import OLD_RAZORPAY_SECRET, System

if TYPE_CHECKING:
    import aiohttp


async def test_a_captured_payment_is_readable_and_emitted_to_kafka(system: System, http: aiohttp.ClientSession) -> None:
    now, payment = int(time.time()), Payment(amount=49_900, notes={"user_id": "u-7"})
    late = (payment.captured(now + 2), payment.authorized(now + 1), payment.failed(now))
    for body in late:
        assert (await post_razorpay(http, system.public, body)).status == 200
    paid = await state_of(http, system, f"payments/{payment.id}", version=3)
    assert (paid["provider"], paid["status"], paid["reconciliation"]) == ("razorpay", "succeeded", "unexpected")
    assert (paid["amount"], paid["amountRefunded"], paid["currency"], paid["userId"]) == (49_900, 0, "inr", "u-7")
    assert [event["type"] for event in paid["events"]].count("payment.captured") == 1

    for total in (10_000, 49_900):
        await post_razorpay(http, system.public, payment.refunded(total, now + 3))
    await state_of(http, system, f"payments/{payment.id}", status="refunded", amountRefunded=49_900)
    records = records_about(system, "billing.payment.events", payment.id, 3)
    assert [record.headers["ce_type"] for record in records] == [
        "billing.payment.succeeded",
        "billing.payment.refunded",
        "billing.payment.refunded",
    ]
    first = json.loads(records[0].value)
    assert (first["provider"], first["amount"], first["currency"]) == ("razorpay", 49_900, "inr")


async def test_a_subscription_is_charged_with_its_payment_and_ends(system: System, http: aiohttp.ClientSession) -> None:
    now, subscription, payment = int(time.time()), Subscription(), Payment(customer=None)
    charge = payment.entity(now + 1, status="captured", captured=True)
    for body in (subscription.charged(charge, now + 1), subscription.authenticated(now)):
        assert (await post_razorpay(http, system.public, body)).status == 200
    running = await state_of(http, system, f"subscriptions/{subscription.id}", version=2)
    assert (running["provider"], running["status"], running["customerId"]) == ("razorpay", "active", subscription.customer)
    paid = await state_of(http, system, f"payments/{payment.id}", status="succeeded")
    assert (paid["subscriptionId"], paid["customerId"]) == (subscription.id, subscription.customer)
    await post_razorpay(http, system.public, subscription.cancelled(now + 2))
    await state_of(http, system, f"subscriptions/{subscription.id}", status="cancelled")
    records = records_about(system, "billing.subscription.events", subscription.id, 2)
    assert [record.headers["ce_type"] for record in records] == ["billing.subscription.created", "billing.subscription.canceled"]


async def test_the_log_has_the_outcome_of_every_delivery(system: System, http: aiohttp.ClientSession) -> None:
    body, trace = Payment().captured(int(time.time())), f"{time.time_ns():032x}"
    traced = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    sent = [
        await post_razorpay(http, system.public, body, event_id="first" + (name := random_id("")), **traced),
        await post_razorpay(http, system.public, body, event_id="again" + name, secret=OLD_RAZORPAY_SECRET, **traced),
        await post_razorpay(http, system.public, body, event_id="wrong" + name, secret="strange", **traced),
    ]
    assert [answer.status for answer in sent] == [200, 200, 401]
    found = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?trace={trace}&source=razorpay")
    assert found is not None
    taken = [item for item in found["items"] if item["outcome"] != "rejected"]
    assert {(item["eventId"], item["outcome"]) for item in taken} == {
        ("first" + name, "accepted"),
        ("again" + name, "duplicate"),
    }
    assert len({item["secretId"] for item in taken}) == 2
