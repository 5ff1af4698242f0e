"""A thin event's object is fetched from Stripe's API and has its effects; a reconciliation restores events that never came."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.command import tallyhook_beside
from tests.e2e.test_stripe_payment import read_json, records_about, state_of
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.simulators.stripe_objects import invoice_object, payment_intent_object

if TYPE_CHECKING:
    import aiohttp

    from tests.simulators.stripe_api import StripeApi
    from tests.system import System


async def test_a_thin_event_has_the_effects_of_its_object(
    system: System, http: aiohttp.ClientSession, stripe_list: StripeApi
) -> None:
    payment, now = stripe.Payment(amount=4200, currency="eur"), time.time()
    intent = {**payment_intent_object(payment, int(now)), "status": "succeeded", "amount_received": 4200}
    stripe_list.keep(intent)
    event = {
        "id": stripe.random_id("evt"),
        "object": "v2.core.event",
        "type": "v1.payment_intent.succeeded",
        "livemode": False,
        "created": datetime.fromtimestamp(now, UTC).isoformat(),
        "related_object": {"id": payment.id, "type": "payment_intent", "url": f"/v1/payment_intents/{payment.id}"},
    }
    await post_stripe(http, system.public, json.dumps(event).encode())
    paid = await state_of(http, system, f"payments/{payment.id}", status="succeeded")
    assert (paid["amount"], [each["type"] for each in paid["events"]]) == (4200, ["payment_intent.succeeded"])
    listed = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?source=stripe&limit=500")
    assert listed is not None
    [answer] = [each for each in listed["items"] if each.get("eventId") == paid["events"][0]["id"]]
    delivery = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries/{answer['headers']['X-Tallyhook-Cause']}")
    assert delivery is not None
    assert (delivery["eventId"], delivery["outcome"], delivery["traceId"]) == (event["id"], "accepted", answer["traceId"])
    assert len(records_about(system, "billing.payment.events", payment.id, 1)) == 1


async def test_a_reconciliation_restores_events_that_never_arrived(
    system: System, http: aiohttp.ClientSession, stripe_list: StripeApi
) -> None:
    invoice = stripe.Invoice(amount=700)
    stripe_list.keep({**invoice_object(invoice, int(time.time()) - 5), "status": "paid", "amount_paid": 700})
    done = await tallyhook_beside(system.environment, "reconcile", "stripe", "--from", "1h", "--apply", "--json")
    report = json.loads(done.stdout)
    [found] = [each for each in report["differences"] if each["id"] == invoice.id]
    assert (found["what"], found["mended"]) == ("missing_here", True)
    kept = await state_of(http, system, f"invoices/{invoice.id}", status="paid")
    assert kept["amountPaid"] == 700
