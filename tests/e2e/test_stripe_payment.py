"""One signed event from HTTP to its effects, on real servers and real processes."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from ops.dev.processes import SINK
from tests.kafka import Stored, read_topic
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.simulators.stripe_objects import Shape
from tests.system import ADMIN, OLD_STRIPE_SECRET, System
from tests.waiting import eventually

if TYPE_CHECKING:
    import aiohttp

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def read_json(http: aiohttp.ClientSession, url: str) -> dict[str, Any] | None:
    """The document at an admin URL, or None while there is none."""
    async with http.get(url, headers=ADMIN) as answer:
        assert answer.status in (200, 404), await answer.text()
        return await answer.json() if answer.status == 200 else None


async def state_of(http: aiohttp.ClientSession, system: System, path: str, **expected: Any) -> dict[str, Any]:
    """The document under an admin path, once it has the expected fields."""

    async def matches() -> dict[str, Any] | None:
        found = await read_json(http, f"{system.internal}/v1/admin/{path}")
        return found if found and expected.items() <= found.items() else None

    return await eventually(matches)


def records_about(system: System, topic: str, key: str, number: int) -> list[Stored]:
    def enough(found: list[Stored]) -> bool:
        return sum(record.key == key for record in found) >= number

    return [record for record in read_topic(system.cluster, topic, until=enough) if record.key == key]


@pytest.mark.parametrize("shape", Shape)
async def test_a_paid_invoice_of_a_subscription_is_readable_and_emitted_to_kafka(
    system: System, http: aiohttp.ClientSession, shape: Shape
) -> None:
    now = int(time.time())
    subscription = stripe.Subscription(shape=shape)
    invoice = stripe.Invoice(shape=shape, subscription=subscription.id, payment=None)
    payment = stripe.Payment(shape=shape, invoice=invoice.id, amount=2990, currency="eur", metadata={"user_id": "u-7"})
    bodies = [
        subscription.created(now),
        payment.succeeded(now + 2),
        invoice.created(now + 1),
        invoice.paid(now + 2),
        subscription.updated(now + 3),
        payment.created(now + 1),
    ]
    if shape is Shape.NEW:
        bodies.append(invoice.paid_by(payment.id, now + 2))
    for body in bodies:
        assert (await post_stripe(http, system.public, body)).status == 200

    events_of_payment = 3 if shape is Shape.NEW else 2
    paid = await state_of(http, system, f"payments/{payment.id}", version=events_of_payment)
    assert (paid["status"], paid["invoiceId"]) == ("succeeded", invoice.id)
    assert (paid["amount"], paid["amountRefunded"], paid["currency"], paid["userId"]) == (2990, 0, "eur", "u-7")
    assert paid["reconciliation"] == "unexpected"
    assert len(paid["events"]) == events_of_payment
    settled = await state_of(http, system, f"invoices/{invoice.id}", status="paid", subscriptionId=subscription.id)
    assert (settled["amountPaid"], settled["currency"]) == (2990, "eur")
    running = await state_of(http, system, f"subscriptions/{subscription.id}", status="active")
    assert running["customerId"] == subscription.customer
    assert running["currentPeriodEnd"] is not None

    [emitted] = records_about(system, "billing.payment.events", payment.id, 1)
    assert emitted.headers["ce_type"] == "billing.payment.succeeded"
    assert emitted.headers["ce_specversion"] == "1.0"
    data = json.loads(emitted.value)
    assert (data["providerPaymentId"], data["status"], data["amount"], data["currency"]) == (
        payment.id, "succeeded", 2990, "eur",
    )  # fmt: skip
    types = [r.headers["ce_type"] for r in records_about(system, "billing.invoice.events", invoice.id, 2)]
    assert types == ["billing.invoice.created", "billing.invoice.paid"]
    types = [r.headers["ce_type"] for r in records_about(system, "billing.subscription.events", subscription.id, 2)]
    assert types == ["billing.subscription.created", "billing.subscription.updated"]


async def test_the_record_on_kafka_is_the_raw_body_byte_for_byte(system: System, http: aiohttp.ClientSession) -> None:
    payment = stripe.Payment()
    body = payment.created(int(time.time())) + b"\n  "
    assert (await post_stripe(http, system.public, body)).status == 200
    [record] = records_about(system, "webhooks.stripe", payment.id, 1)
    assert record.value == body
    assert record.headers["ce_type"] == "com.stripe.payment_intent.created"


async def test_the_journey_of_a_delivery_is_found_by_its_trace(system: System, http: aiohttp.ClientSession) -> None:
    payment = stripe.Payment(metadata={"user_id": "u-1"})
    traceparent = f"00-{TRACE}-00f067aa0ba902b7-01"
    answer = await post_stripe(http, system.public, payment.succeeded(int(time.time())), traceparent=traceparent)
    assert answer.headers["X-Trace-Id"] == TRACE
    await state_of(http, system, f"payments/{payment.id}", status="succeeded")
    listed = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?trace={TRACE}")
    assert listed is not None
    [delivery] = listed["items"]

    async def relayed() -> dict[str, Any] | None:
        found = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries/{delivery['id']}")
        assert found is not None
        steps = [found["journey"]["event"], *found["journey"]["caused"]]
        failed = any(step["type"] == "notification.failed" for step in steps)  # u-1 has no contact data
        return found if failed and all(step["state"] == "relayed" for step in steps) else None

    journey = (await eventually(relayed))["journey"]
    assert journey["event"]["consumedBy"] == ["payments"]
    assert {step["type"] for step in journey["caused"]} == {
        "billing.payment.succeeded", "notification.send", "notification.failed",
    }  # fmt: skip
    [emitted] = records_about(system, "billing.payment.events", payment.id, 1)
    assert emitted.headers["traceparent"][3:35] == TRACE
    assert emitted.headers["ce_causationid"] == delivery["id"]


async def test_an_older_live_secret_still_passes_and_is_recorded(system: System, http: aiohttp.ClientSession) -> None:
    payment = stripe.Payment()
    answer = await post_stripe(http, system.public, payment.created(int(time.time())), secret=OLD_STRIPE_SECRET)
    assert answer.status == 200
    listed = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?trace={answer.headers['X-Trace-Id']}")
    assert listed is not None
    newest = await post_stripe(http, system.public, payment.processing(int(time.time())))
    other = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?trace={newest.headers['X-Trace-Id']}")
    assert other is not None
    assert listed["items"][0]["secretId"] != other["items"][0]["secretId"]


async def test_an_expectation_and_another_amount_make_a_mismatch_that_is_emitted(
    system: System, http: aiohttp.ClientSession
) -> None:
    payment = stripe.Payment(amount=500, currency="usd", metadata={"reference": f"order-{stripe.random_id('o')}"})
    expected = {"reference": payment.metadata["reference"], "amount": 700, "currency": "usd", "userId": "u-9"}
    async with http.post(f"{system.internal}/internal/v1/payments/expect", json=expected, headers=ADMIN) as answer:
        assert answer.status == 200, await answer.text()
    await post_stripe(http, system.public, payment.succeeded(int(time.time())))
    found = await state_of(http, system, f"payments/{payment.id}", reconciliation="mismatched")
    assert found["userId"] == "u-9"
    types = {r.headers["ce_type"] for r in records_about(system, "billing.payment.events", payment.id, 2)}
    assert types == {"billing.payment.succeeded", "billing.payment.mismatched"}


async def test_a_record_that_does_not_decode_becomes_a_dead_letter_and_the_partition_goes_on(
    system: System, http: aiohttp.ClientSession
) -> None:
    payment = stripe.Payment()
    producer = Producer({"bootstrap.servers": system.kafka})
    producer.produce("webhooks.stripe", b"\xff not an event", payment.id)
    producer.produce("webhooks.stripe", None, payment.id)
    assert producer.flush(10) == 0
    await post_stripe(http, system.public, payment.succeeded(int(time.time())))
    await state_of(http, system, f"payments/{payment.id}", status="succeeded")
    key = payment.id.encode()
    rows = system.query("select reason, value, partition from dead_letters where key = %s order by reason", key)
    assert [(reason, value) for reason, value, _ in rows] == [
        ("envelope_incomplete", b"\xff not an event"),
        ("value_missing", None),
    ]

    def arrived(found: list[Stored]) -> bool:
        return sum(payment.id in _key_of(record) for record in found) == 2

    letters = [r for r in read_topic(system.cluster, "dead-letters", until=arrived) if payment.id in _key_of(r)]
    assert {json.loads(r.value)["reason"] for r in letters} == {"envelope_incomplete", "value_missing"}


async def test_metrics_and_health_answer_on_every_process(system: System, http: aiohttp.ClientSession) -> None:
    webs = {state.name: state.web for state in system.states if state.name != SINK} | {"gateway": system.internal}
    for name, web in webs.items():
        async with http.get(f"{web}/health/ready") as answer:
            assert answer.status == 200, name
        async with http.get(f"{web}/metrics") as answer:
            assert "tallyhook_" in await answer.text(), name


def _key_of(record: Stored) -> str:
    return b64decode(json.loads(record.value)["key"] or "").decode()
