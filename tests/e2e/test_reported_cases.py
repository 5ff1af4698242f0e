"""Faults that users have reported of other webhook systems: each case runs through the real system, with the right outcome."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.e2e.test_notifications import arrived
from tests.e2e.test_stripe_payment import state_of
from tests.simulators import razorpay, stripe
from tests.simulators.stripe import random_id
from tests.system import RAZORPAY_SECRET, STRIPE_SECRET

if TYPE_CHECKING:
    import aiohttp

    from tests.system import System

Object = dict[str, Any]
BEGUN: Final = int(time.time()) - 60


async def post(http: aiohttp.ClientSession, system: System, source: str, event: Object, event_id: str = "") -> Object:
    """Send one signed event, which is taken; the answer."""
    body = json.dumps(event).encode()
    headers = {
        "stripe": {"Stripe-Signature": stripe.sign(body, STRIPE_SECRET, time.time())},
        "razorpay": {
            "X-Razorpay-Signature": razorpay.sign(body, RAZORPAY_SECRET),
            "X-Razorpay-Event-Id": event_id or razorpay.random_id(""),
        },
    }[source] | {"Content-Type": "application/json"}
    async with http.post(f"{system.public}/v1/webhooks/{source}", data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())


async def send(http: aiohttp.ClientSession, system: System, kind: str, subject: Object, after: int = 0, **marks: Any) -> Object:
    """Send one signed event of Stripe's, `after` seconds after the first; the answer."""
    data = {"object": subject, **marks.pop("data", {})}
    event = {
        "id": random_id("evt"), "object": "event", "type": kind, "created": BEGUN + after, "api_version": "2024-06-20",
        "livemode": False, "pending_webhooks": 1, "request": {"id": "req_1", "idempotency_key": None}, "data": data, **marks,
    }  # fmt: skip
    return await post(http, system, "stripe", event)


def paid(payment: str, amount: int = 2000, currency: str = "usd", **others: Any) -> Object:
    return {
        "id": payment, "object": "payment_intent", "amount": amount, "amount_received": amount, "currency": currency,
        "customer": "cus_1", "status": "succeeded", "metadata": {}, "receipt_email": None, **others,
    }  # fmt: skip


def charge(payment: str | None, refunded: int, **others: Any) -> Object:
    return {
        "id": random_id("ch"), "object": "charge", "payment_intent": payment, "amount": 2000, "amount_captured": 2000,
        "amount_refunded": refunded, "captured": True, "refunded": refunded == 2000, "currency": "usd", "customer": "cus_1",
        "metadata": {}, **others,
    }  # fmt: skip


def invoice(name: str, **others: Any) -> Object:
    return {
        "id": name, "object": "invoice", "amount_due": 2000, "amount_paid": 2000, "currency": "usd", "customer": "cus_1",
        "attempt_count": 1, "lines": {"object": "list", "data": []}, **others,
    }  # fmt: skip


async def no_dead_letter(system: System, *aggregates: str) -> None:
    letters = "select reason, detail from dead_letters l join outbox o on o.id = l.event_id where o.aggregate_id = any(%s)"
    assert system.query(letters, list(aggregates)) == []


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    [(50_000, "isk", "500 ISK"), (500_000, "ugx", "5000 UGX"), (1500, "mga", "1500 MGA"), (1500, "mru", "15.00 MRU"),
     (12_340, "kwd", "12.340 KWD"), (50_000, "huf", "500.00 HUF"), (500, "jpy", "500 JPY")],
)  # fmt: skip
async def test_an_amount_is_mailed_as_people_count(
    system: System, http: aiohttp.ClientSession, amount: int, currency: str, words: str
) -> None:
    payer = f"{random_id(currency)}@example.com".lower()
    await send(http, system, "payment_intent.succeeded", paid(random_id("pi"), amount, currency, receipt_email=payer))
    [mail] = await arrived(http, system, payer)
    assert f" {words} " in mail["subject"]


async def test_a_refund_that_fails_is_money_that_stayed(system: System, http: aiohttp.ClientSession) -> None:
    payment, refund = random_id("pi"), random_id("re")
    await send(http, system, "payment_intent.succeeded", paid(payment))
    await send(http, system, "charge.refunded", charge(payment, 2000), 1)
    await state_of(http, system, f"payments/{payment}", status="refunded", amountRefunded=2000)
    failed = {
        "id": refund, "object": "refund", "amount": 2000, "payment_intent": payment, "currency": "usd", "status": "failed",
        "failure_reason": "expired_or_canceled_card",
    }  # fmt: skip
    await send(http, system, "refund.failed", failed, 2)
    await send(http, system, "charge.updated", charge(payment, 0), 3)
    await state_of(http, system, f"payments/{payment}", status="succeeded", amountRefunded=0)
    await state_of(http, system, f"refunds/{refund}", status="failed", failureReason="expired_or_canceled_card")
    await send(http, system, "charge.refunded", charge(payment, 500), 9)
    await state_of(http, system, f"payments/{payment}", status="partially_refunded", amountRefunded=500)


async def test_an_event_of_an_account_without_a_payload_is_taken(system: System, http: aiohttp.ClientSession) -> None:
    event = {
        "event": "account.app.authorization_revoked",
        "account_id": "acc_Dhk2qDbmu6FwZH",
        "contains": [],
        "created_at": BEGUN,
    }
    assert (await post(http, system, "razorpay", event))["ignored"]


async def test_a_thin_event_of_an_object_that_is_not_folded_is_accepted(system: System, http: aiohttp.ClientSession) -> None:
    event = {
        "id": random_id("evt"), "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered", "livemode": False,
        "created": "2026-11-20T10:00:00.000Z", "context": None,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }  # fmt: skip
    assert (await post(http, system, "stripe", event))["reason"] == "type_not_handled"


async def test_an_invoice_without_a_status_has_one(system: System, http: aiohttp.ClientSession) -> None:
    old, new, deleted = random_id("in"), random_id("in"), random_id("in")
    signs = {"closed": True, "paid": True, "forgiven": False, "attempted": True, "subscription": "sub_old", "charge": "ch_old"}
    await send(http, system, "invoice.payment_succeeded", invoice(old, **signs), api_version="2017-02-14")
    await send(http, system, "invoice.created", invoice(new, status=None, amount_paid=0))
    await send(http, system, "invoice.created", invoice(deleted, status="draft", amount_paid=0))
    await send(http, system, "invoice.deleted", invoice(deleted, status="draft", amount_due=None, amount_paid=0), 1)
    await state_of(http, system, f"invoices/{old}", status="paid", amountPaid=2000)
    await state_of(http, system, f"invoices/{new}", status="draft", amountDue=2000)
    await state_of(http, system, f"invoices/{deleted}", status="void", amountDue=2000)
    await no_dead_letter(system, old, new, deleted)


async def test_of_two_states_in_one_second_the_later_one_counts(system: System, http: aiohttp.ClientSession) -> None:
    subscription = random_id("sub")
    fields = {"id": subscription, "object": "subscription", "customer": "cus_1", "current_period_end": BEGUN + 9}
    active = {"previous_attributes": {"status": "past_due"}}
    await send(http, system, "customer.subscription.updated", {**fields, "status": "active"}, data=active)
    await send(http, system, "customer.subscription.updated", {**fields, "status": "past_due"})
    await state_of(http, system, f"subscriptions/{subscription}", status="active", version=2)


@pytest.mark.parametrize("odd", ["a\0b", "\ud83d", "cut \udc00 off", "x" * 5000, "", 5, None, ["a"], {"a": "\0"}])
async def test_a_broken_field_that_is_not_needed_loses_no_payment(system: System, http: aiohttp.ClientSession, odd: Any) -> None:
    payment, captured = random_id("pi"), random_id("pay")
    others = {"metadata": {"order_id": odd}, "receipt_email": odd, "customer": odd, "description": odd}
    await send(http, system, "payment_intent.succeeded", paid(payment) | others)
    entity = {"id": captured, "amount": 700, "currency": "INR", "status": "captured", "order_id": odd, "email": odd, "notes": odd}
    event = {"event": "payment.captured", "created_at": BEGUN, "payload": {"payment": {"entity": entity}}}
    await post(http, system, "razorpay", event)
    await state_of(http, system, f"payments/{payment}", status="succeeded", amount=2000, currency="usd")
    await state_of(http, system, f"payments/{captured}", status="succeeded", amount=700, currency="inr")
    await no_dead_letter(system, payment, captured)


async def test_an_invoice_that_a_bare_charge_paid_has_a_payment_that_succeeded(
    system: System, http: aiohttp.ClientSession
) -> None:
    name, bare = random_id("in"), random_id("ch")
    await send(http, system, "invoice.paid", invoice(name, status="paid", charge=bare, payment_intent=None))
    await state_of(http, system, f"payments/{bare}", status="succeeded", amount=2000)
    await send(http, system, "charge.succeeded", charge(None, 0) | {"id": bare, "invoice": name})
    await state_of(http, system, f"payments/{bare}", status="succeeded", amount=2000, invoiceId=name, version=2)


async def test_a_payer_whose_user_is_unknown_is_notified_at_the_address_in_the_event(
    system: System, http: aiohttp.ClientSession
) -> None:
    payer = f"{random_id('payer')}@example.com".lower()
    unknown = {"metadata": {"userId": random_id("u")}, "receipt_email": payer}
    await send(http, system, "payment_intent.succeeded", paid(random_id("pi")) | unknown)
    assert len(await arrived(http, system, payer)) == 1


async def test_a_payment_without_a_received_amount_has_the_requested_amount(system: System, http: aiohttp.ClientSession) -> None:
    payment = random_id("pi")
    fields = paid(payment, 4990, "eur")
    del fields["amount_received"]
    await send(http, system, "payment_intent.succeeded", fields)
    await state_of(http, system, f"payments/{payment}", status="succeeded", amount=4990, currency="eur")
    await send(http, system, "charge.updated", charge(payment, 0, currency=None, amount=None, amount_captured=None), 1)
    await state_of(http, system, f"payments/{payment}", status="succeeded", amount=4990, currency="eur", version=2)


async def test_razorpays_id_on_another_body_is_another_event(system: System, http: aiohttp.ClientSession) -> None:
    payment, event_id = random_id("pay"), random_id("")
    for status in ("authorized", "captured"):
        entity = {"id": payment, "amount": 700, "currency": "INR", "status": status}
        event = {"event": f"payment.{status}", "created_at": BEGUN, "payload": {"payment": {"entity": entity}}}
        assert not (await post(http, system, "razorpay", event, event_id))["duplicate"]
    await state_of(http, system, f"payments/{payment}", status="succeeded", amount=700)
