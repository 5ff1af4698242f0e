"""A partner's lead from its HTTP request to the CRM, on real servers and real processes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.e2e.test_stripe_payment import records_about
from tests.simulators.partner import lead, sign
from tests.system import ADMIN, SERVICE
from tests.waiting import eventually

if TYPE_CHECKING:
    import aiohttp

    from tests.simulators.crm import Crm
    from tests.system import System


async def send(http: aiohttp.ClientSession, system: System, partner: str, body: bytes) -> aiohttp.ClientResponse:
    signed = {"Content-Type": "application/json", "X-Partner-Signature": sign(body, f"{partner}-secret", time.time())}
    async with http.post(f"{system.public}/v1/webhooks/partner/leads", data=body, headers=signed) as answer:
        await answer.read()
        return answer


async def lead_with(http: aiohttp.ClientSession, system: System, lead_id: str, status: str) -> dict[str, Any]:
    """The lead as operators see it, once it has the status."""

    async def look() -> dict[str, Any] | None:
        async with http.get(f"{system.internal}/v1/admin/leads/{lead_id}", headers=ADMIN) as answer:
            assert answer.status in (200, 404)
            found = await answer.json()
            return found if found.get("status") == status else None

    return await eventually(look)


async def deliver(http: aiohttp.ClientSession, system: System, **command: Any) -> tuple[int, dict[str, Any]]:
    async with http.post(f"{system.internal}/internal/v1/leads/deliver", json=command, headers=SERVICE) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_a_lead_is_delivered_and_emitted_to_kafka(system: System, http: aiohttp.ClientSession, crm: Crm) -> None:
    body = lead(f"crm-{uuid4()}", "acme", name="Ada", phone="+49 30 1234")
    first = await send(http, system, "acme", body)
    lead_id = (await first.json())["id"]
    again = await send(http, system, "acme", body)
    assert (first.status, again.status) == (202, 200)

    found = await lead_with(http, system, lead_id, "delivered")
    assert (found["partnerId"], found["payload"]) == ("acme", {"name": "Ada", "phone": "+49 30 1234"})
    assert [(each["attempt"], each["status"]) for each in found["attempts"]] == [(1, 204)]
    assert [event["type"] for event in found["events"]] == ["lead.partner.received", "lead.delivered"]
    assert found["version"] == 2
    assert crm.ids("/acme").count(lead_id) == 1

    received, delivered = records_about(system, "lead.partner.events", lead_id, 2)
    assert (received.headers["ce_type"], received.value) == ("lead.partner.received", body)
    assert (delivered.headers["ce_type"], delivered.headers["ce_causationid"]) == ("lead.delivered", lead_id)
    assert json.loads(delivered.value)["attempt"] == 1

    assert await deliver(http, system, leadId=lead_id, partnerId="acme", attempt=1) == (200, {"delivered": True, "attempt": 1})
    assert crm.ids("/acme").count(lead_id) == 1


async def test_a_lead_whose_crm_is_down_is_tried_until_an_alert_is_raised(
    system: System, http: aiohttp.ClientSession, crm: Crm
) -> None:
    lead_id = (await (await send(http, system, "down", lead(f"crm-{uuid4()}", "down"))).json())["id"]
    found = await lead_with(http, system, lead_id, "exhausted")
    assert [(each["status"], each["error"], each["excerpt"]) for each in found["attempts"]] == [(503, "http_503", "closed")] * 3
    assert ["nextAttemptAt" in each and each["nextAttemptAt"] is not None for each in found["attempts"]] == [True, True, False]
    assert crm.ids("/down") == [lead_id] * 3

    records = records_about(system, "lead.partner.events", lead_id, 5)
    kinds = [record.headers["ce_type"] for record in records]
    assert kinds == ["lead.partner.received", *["lead.delivery.failed"] * 3, "lead.delivery.exhausted"]
    [alert] = records_about(system, "alert.events", lead_id, 1)
    assert json.loads(alert.value)["alert"] == "lead_delivery_exhausted"

    assert await deliver(http, system, leadId=lead_id, partnerId="down") == (200, {"delivered": False, "attempt": 4})
    assert (await deliver(http, system, leadId=lead_id, partnerId="acme"))[0] == 422
    assert (await deliver(http, system, leadId=str(uuid4()), partnerId="acme"))[0] == 404
