"""A payment that never arrived as a webhook is fetched from Stripe's list, and has its effects."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.command import tallyhook_beside
from tests.e2e.test_stripe_payment import read_json, records_about, state_of
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    import aiohttp

    from tests.simulators.stripe_api import StripeApi
    from tests.system import System


async def backfill(system: System) -> dict[str, Any]:
    done = await tallyhook_beside(system.environment, "backfill", "stripe", "--since", "1h", "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


async def test_a_backfilled_payment_has_its_effects_once(
    system: System, http: aiohttp.ClientSession, stripe_list: StripeApi
) -> None:
    payment = Payment(amount=4200, currency="eur")
    stripe_list.hold(payment.succeeded(int(time.time()) - 60))
    assert (await backfill(system))["putIn"] >= 1
    paid = await state_of(http, system, f"payments/{payment.id}", status="succeeded")
    assert (paid["amount"], len(paid["events"])) == (4200, 1)
    listed = await read_json(http, f"{system.internal}/v1/admin/webhooks/deliveries?source=stripe&limit=500")
    assert listed is not None
    [delivery] = [each for each in listed["items"] if each.get("eventId") == paid["events"][0]["id"]]
    assert (delivery["outcome"], delivery["headers"]) == ("accepted", {"X-Tallyhook-Origin": "backfill"})
    assert "secretId" not in delivery
    assert (await backfill(system))["putIn"] == 0
    assert len(records_about(system, "billing.payment.events", payment.id, 1)) == 1
