"""Test or live mode, and the account, from HTTP to the views and the notifications, on real servers and real processes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.e2e.test_stripe_payment import read_json, records_about, state_of
from tests.sender import post_razorpay, post_stripe
from tests.simulators import razorpay
from tests.simulators.stripe import Invoice, Payment, Subscription
from tests.system import ADMIN, System

if TYPE_CHECKING:
    import aiohttp

ACCOUNT = "acct_1connected"


def of(body: bytes, **marks: Any) -> bytes:
    """Return the event with other marks; a mark of `...` is removed."""
    event = {**orjson.loads(body), **marks}
    return orjson.dumps({name: value for name, value in event.items() if value is not ...})


@pytest.mark.parametrize("livemode", [True, False])
async def test_all_that_becomes_of_an_event_has_its_mode_and_account(
    system: System, http: aiohttp.ClientSession, livemode: bool
) -> None:
    now = int(time.time())
    payment, subscription = Payment(), Subscription()
    invoice = Invoice(subscription=subscription.id)
    bodies = [
        payment.succeeded(now),
        payment.refund("refund.created", 100, now + 1, id=(refund := f"re_{payment.id[3:]}")),
        payment.disputed("created", now + 1),
        subscription.created(now),
        invoice.paid(now + 1),
    ]
    for body in bodies:
        answer = await post_stripe(http, system.public, of(body, livemode=livemode, account=ACCOUNT))
        assert answer.status == 200
    marks = {"livemode": livemode, "account": ACCOUNT}
    paths = {
        "payments": payment.id, "refunds": refund, "disputes": f"du_{payment.charge[3:]}",
        "subscriptions": subscription.id, "invoices": invoice.id,
    }  # fmt: skip
    for kind, name in paths.items():
        await state_of(http, system, f"{kind}/{name}", **marks)
    for kind, name in paths.items():
        [emitted, *_] = records_about(system, f"billing.{kind[:-1]}.events", name, 1)
        assert (emitted.headers["ce_livemode"], emitted.headers["ce_account"]) == (json.dumps(livemode), ACCOUNT)
        assert marks.items() <= json.loads(emitted.value).items()
    [raw, *_] = records_about(system, "webhooks.stripe", payment.id, 1)
    assert (raw.headers["ce_livemode"], raw.headers["ce_account"]) == (json.dumps(livemode), ACCOUNT)
    query = f"mode={'live' if livemode else 'test'}&account={ACCOUNT}&source=stripe&type=payment_intent.succeeded"
    listed = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?{query}")
    assert listed
    assert [marks.items() <= item.items() for item in listed["items"]] == [True]


async def test_an_event_that_states_neither_takes_neither_away(system: System, http: aiohttp.ClientSession) -> None:
    now, payment = int(time.time()), Payment()
    await post_stripe(http, system.public, of(payment.created(now), livemode=..., account=...))
    found = await state_of(http, system, f"payments/{payment.id}", version=1)
    assert found.keys() & {"livemode", "account"} == set()
    await post_stripe(http, system.public, of(payment.processing(now + 1), livemode=True, context=f"acct_platform/{ACCOUNT}"))
    await state_of(http, system, f"payments/{payment.id}", livemode=True, account=ACCOUNT, version=2)
    await post_stripe(http, system.public, of(payment.succeeded(now + 2), livemode=..., account=...))
    await state_of(http, system, f"payments/{payment.id}", livemode=True, account=ACCOUNT, version=3)
    [emitted] = records_about(system, "billing.payment.events", payment.id, 1)
    assert (emitted.headers["ce_livemode"], emitted.headers["ce_account"]) == ("true", ACCOUNT)


async def test_a_mismatch_that_is_found_late_has_them_too(system: System, http: aiohttp.ClientSession) -> None:
    payment = Payment(metadata={"order_id": f"order-{time.time_ns()}"})
    await post_stripe(http, system.public, of(payment.succeeded(int(time.time())), livemode=True, account=ACCOUNT))
    await state_of(http, system, f"payments/{payment.id}", livemode=True)
    wanted = {"reference": payment.metadata["order_id"], "amount": 1, "currency": "eur"}
    async with http.post(f"{system.internal}/internal/v1/payments/expect", json=wanted, headers=ADMIN) as answer:
        assert (await answer.json())["reconciliation"] == "mismatched"
    [_, emitted] = records_about(system, "billing.payment.events", payment.id, 2)
    assert (emitted.headers["ce_type"], emitted.headers["ce_livemode"]) == ("billing.payment.mismatched", "true")
    assert {"livemode": True, "account": ACCOUNT}.items() <= json.loads(emitted.value).items()


async def test_razorpay_names_its_account_and_no_mode(system: System, http: aiohttp.ClientSession) -> None:
    payment = razorpay.Payment()
    await post_razorpay(http, system.public, payment.captured(int(time.time())))
    found = await state_of(http, system, f"payments/{payment.id}", account="acc_BFQ7uQEaa7j2z7")
    assert "livemode" not in found
    [emitted] = records_about(system, "billing.payment.events", payment.id, 1)
    assert ("ce_livemode" in emitted.headers, emitted.headers["ce_account"]) == (False, "acc_BFQ7uQEaa7j2z7")
