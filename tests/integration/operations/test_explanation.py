"""Explanations of a refused delivery over HTTP, by the command and by the doctor; its sender learns nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from ops.doctor.refusals import check_refusals
from runtime.ids import new_id
from runtime.settings import Secret
from tests.command import tallyhook_beside
from tests.gateways import SECRET, SERVICE
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

RAZORPAY = "rzp-5Kd82mQzX-secret"


async def refuse(gateway: Gateway, body: bytes, *, secret: str = SECRET) -> str:
    """Send a delivery that is refused; return its id."""
    response = await gateway.post(body, secret=secret)
    problem = await response.json(content_type=None)
    assert (response.status, problem["reason"]) == (401, "signature_wrong")
    assert "explanation" not in json.dumps(problem)
    await gateway.resources.rejections.flush()
    return str([row for row in await gateway.rows("webhook_deliveries") if row["outcome"] == "rejected"][-1]["id"])


async def explanation(gateway: Gateway, delivery: str) -> Any:
    response = await gateway.get(f"/v1/admin/webhooks/deliveries/{delivery}/explanation")
    assert response.status == 200
    return await response.json()


async def test_a_refused_delivery_is_explained_in_words(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(RAZORPAY_WEBHOOK_SECRET=RAZORPAY) as gateway:
        delivery = await refuse(gateway, Payment().succeeded(), secret=RAZORPAY)
        found = await explanation(gateway, delivery)
        assert (found["cause"], found["secretId"]) == ("secret_of_other_source", Secret(RAZORPAY).id)
        assert RAZORPAY not in json.dumps(found)
        environ = {
            "DATABASE_URL": database_url, "STRIPE_WEBHOOK_SECRET": SECRET, "RAZORPAY_WEBHOOK_SECRET": RAZORPAY,
            "INTERNAL_API_TOKEN": "q7Rk2mZx9vNb4tLw8yPc", "ADMIN_API_TOKEN": "H3fJ6sDg1aQe5uTi0oBn",
        }  # fmt: skip
        [finding] = await asyncio.to_thread(lambda: [*check_refusals(environ)])
        assert (finding.level, "1 from stripe" in finding.text, "secret_of_other_source" in finding.text) == ("warn", True, True)
        for asked in ((delivery,), ("--last", "stripe")):
            done = await tallyhook_beside(environ, "deliveries", "explain", *asked, "--json")
            assert json.loads(done.stdout) == {"id": delivery, **found}


async def test_an_event_unlike_the_accepted_ones_is_of_another_mode_or_endpoint(gateway: Gateway) -> None:
    accepted = await gateway.post(Payment().succeeded())
    taken = (await accepted.json())["id"]
    assert (await explanation(gateway, taken))["cause"] == "not_rejected"
    assert (await explanation(gateway, await refuse(gateway, Payment().succeeded(), secret="whsec_other")))["cause"] == "unknown"
    other = Payment().succeeded().replace(b'"livemode": false', b'"livemode": true')
    assert b'"livemode": true' in other
    assert (await explanation(gateway, await refuse(gateway, other, secret="whsec_other")))["cause"] == "mode_or_endpoint"


async def test_an_event_of_the_unwanted_mode_is_explained(start_gateway: StartGateway) -> None:
    async with start_gateway(STRIPE_MODE="live") as gateway:
        found = await explanation(gateway, await refuse(gateway, Payment().succeeded(), secret="whsec_other"))
        assert (found["cause"], "this system accepts live events" in found["detail"]) == ("mode_or_endpoint", True)


async def test_the_doctor_reports_live_and_test_events_that_are_both_handled(gateway: Gateway, database_url: str) -> None:
    environ = {
        "DATABASE_URL": database_url, "STRIPE_WEBHOOK_SECRET": SECRET, "INTERNAL_API_TOKEN": "q7Rk2mZx9vNb4tLw8yPc",
        "ADMIN_API_TOKEN": "H3fJ6sDg1aQe5uTi0oBn",
    }  # fmt: skip

    async def warnings(**changes: str) -> list[str]:
        found = await asyncio.to_thread(lambda: [*check_refusals(environ | changes)])
        return [finding.text for finding in found if finding.level == "warn"]

    await gateway.post(Payment().succeeded())
    assert await warnings() == []
    await gateway.post(Payment().succeeded().replace(b'"livemode": false', b'"livemode": true'))
    assert ["(1 and 1)" in text for text in await warnings()] == [True]
    assert await warnings(STRIPE_MODE="live") == []
    assert ["1 live events" in text for text in await warnings(STRIPE_MODE="test")] == [True]


async def test_the_alert_explains_why_the_latest_one_was_refused(start_gateway: StartGateway) -> None:
    async with start_gateway(RAZORPAY_WEBHOOK_SECRET=RAZORPAY) as gateway:
        for _ in range(20):
            await refuse(gateway, Payment().succeeded(), secret=RAZORPAY)
        [alert] = [json.loads(row["data"]) for row in await gateway.rows("outbox") if row["type"] == "alert.raised"]
        assert (alert["alert"], "secret_of_other_source" in alert["summary"]) == ("signature_failures", True)


async def test_a_header_that_was_sent_twice_is_kept_whole(gateway: Gateway) -> None:
    await gateway.send(
        b"{}", [("Stripe-Signature", "t=1"), ("Stripe-Signature", f"v1={'a' * 64}"), ("Content-Type", "application/json")]
    )  # type: ignore[arg-type]  # a header twice
    await gateway.resources.rejections.flush()
    [row] = await gateway.rows("webhook_deliveries")
    assert row["headers"]["Stripe-Signature"] == f"t=1, v1={'a' * 64}"


async def test_only_operators_get_an_explanation_and_only_of_existing_deliveries(gateway: Gateway) -> None:
    path = f"/v1/admin/webhooks/deliveries/{new_id()}/explanation"
    assert (await gateway.get(path)).status == 404
    assert (await gateway.get(path, SERVICE)).status == 403
