"""An erasure over HTTP: previewed, started, followed to its end, and recorded in the audit log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.settings import Secret
from tests.gateways import SERVICE, Gateway
from tests.simulators.stripe import Payment
from tests.waiting import eventually

EMAIL = "ada@example.com"
ERASURES = "/v1/admin/erasures"
ASKED = {"kind": "email", "id": EMAIL, "reason": "request 7"}


async def arrived(gateway: Gateway) -> None:
    assert (await gateway.post(Payment(receipt_email=EMAIL).succeeded())).status == 200


async def ended(gateway: Gateway, erasure_id: str) -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(await (await gateway.get(f"{ERASURES}/{erasure_id}")).read())
        return found if found["state"] != "running" else None

    return await eventually(over)


async def test_a_dry_run_reports_what_would_be_erased_and_changes_nothing(gateway: Gateway) -> None:
    await arrived(gateway)
    answer = await gateway.ask(ERASURES, {**ASKED, "dryRun": True})
    found = await answer.json()
    assert (answer.status, found["wouldErase"], found["documents"]) == (200, {"events": 1}, [])
    assert EMAIL.encode() in bytes((await gateway.rows("outbox"))[0]["data"])
    assert await gateway.rows("erasures") == []


async def test_an_erasure_waits_for_the_relay_goes_through_and_is_reported(gateway: Gateway) -> None:
    await arrived(gateway)
    answer = await gateway.ask(ERASURES, ASKED)
    assert answer.status == 202
    erasure_id = (await answer.json())["erasureId"]
    async with gateway.resources.commands.connection() as connection:
        await connection.execute("delete from outbox_pending")  # as the relay does once Kafka has it
    erasure = await ended(gateway, erasure_id)
    assert (erasure["state"], erasure["erased"], erasure["requestedBy"]) == ("done", {"events": 1}, Secret("operator").id)
    assert EMAIL.encode() not in bytes((await gateway.rows("outbox"))[0]["data"])
    listed = await (await gateway.get(ERASURES)).json()
    assert [each["id"] for each in listed["items"]] == [erasure_id]
    [delivery] = await gateway.rows("webhook_deliveries")
    body = await gateway.get(f"/v1/admin/webhooks/deliveries/{delivery['id']}/body")
    assert json.loads(await body.read())["erased"]["erasure"] == erasure_id
    await gateway.resources.audit.flush()
    audited = [row for row in await gateway.rows("audit_log") if row["method"] == "POST"]
    assert [(row["path"], row["status"]) for row in audited] == [(ERASURES, 202)]


@pytest.mark.parametrize(
    "changes",
    [{"kind": "person"}, {"id": "a"}, {"id": "no address"}, {"reason": " "}, {"reason": "\0"}, {"kind": "lead", "id": "acme"}],
)
async def test_a_request_without_a_subject_is_refused(gateway: Gateway, changes: dict[str, str]) -> None:
    answer = await gateway.ask(ERASURES, {**ASKED, **changes})
    assert (answer.status, (await answer.json())["reason"]) == (422, "field_invalid")


@pytest.mark.parametrize("name", ["dry_run", "dryrun"])
async def test_a_misspelt_dry_run_erases_nothing(gateway: Gateway, name: str) -> None:
    answer = await gateway.ask(ERASURES, {**ASKED, name: True})
    assert (answer.status, (await answer.json())["reason"]) == (422, "field_invalid")


async def test_a_service_may_not(gateway: Gateway) -> None:
    assert (await gateway.ask(ERASURES, ASKED, SERVICE)).status == 403
