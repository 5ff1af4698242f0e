"""Endpoints of providers: added, used, rotated and removed while gateways run, and named in each delivery."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest

from ops.doctor.refusals import check_refusals
from runtime.seals import new_key
from runtime.settings import Secret
from tests.gateways import ADMIN, SECRET, SERVICE
from tests.integration.operations.webhook_replaying import WRONG, carried, ended, figures, progress, replayed, taken_up
from tests.simulators import razorpay
from tests.simulators.stripe import random_id, sign
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateways import Gateway, StartGateway

ENDPOINTS: Final = "/v1/admin/endpoints"
KEY: Final = new_key()
SETTINGS: Final = {"SECRET_KEYS": KEY}
EU: Final = "whsec_of_the_european_account"
US: Final = "whsec_of_the_american_account"


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[Gateway]:
    async with start_gateway(**SETTINGS) as running:
        yield running


def make_event(**changes: Any) -> bytes:
    event = {
        "id": random_id("evt"), "object": "event", "type": "payment_intent.succeeded", "created": 1_700_000_000, "livemode": True,
        "data": {"object": {"object": "payment_intent", "id": random_id("pi")}},
    }  # fmt: skip
    return json.dumps(event | changes).encode()


async def call(gateway: Gateway, method: str, path: str, body: Any = None, headers: dict[str, str] = ADMIN) -> tuple[int, Any]:
    response = await gateway.client.request(method, f"{gateway.internal}{ENDPOINTS}{path}", json=body, headers=headers)
    return response.status, json.loads(await response.read())


async def send(gateway: Gateway, place: str, secret: str, body: bytes | None = None) -> tuple[int, Any]:
    body = body or make_event()
    headers = {"Content-Type": "application/json"}
    if place.startswith("stripe"):
        headers["Stripe-Signature"] = sign(body, secret, time.time())
    else:
        headers["X-Razorpay-Signature"] = razorpay.sign(body, secret)
    response = await gateway.client.post(f"{gateway.public}/v1/webhooks/{place}", data=body, headers=headers)
    return response.status, json.loads(await response.read())


async def until(gateway: Gateway, place: str, secret: str, status: int = 200) -> Any:
    """Send events until the answer has this status; returns that answer."""

    async def look() -> Any:
        answered, answer = await send(gateway, place, secret)
        return answer if answered == status else None

    return await eventually(look)


async def deliveries(gateway: Gateway, query: str) -> list[Any]:
    found = await (await gateway.get(f"/v1/admin/webhooks/deliveries?{query}")).json()
    return list(found["items"])


async def rejected(gateway: Gateway, endpoint: str) -> list[Any]:
    await gateway.resources.rejections.flush()
    return await deliveries(gateway, f"outcome=rejected&endpoint={endpoint}")


async def test_a_new_endpoint_takes_its_first_event_on_every_gateway(gateway: Gateway, start_gateway: StartGateway) -> None:
    async with start_gateway(**SETTINGS) as other:
        status, made = await call(gateway, "PUT", "/stripe/eu", {"label": "EU account", "mode": "live", "secrets": [EU]})
        assert status == 201
        assert (made["endpoint"]["path"], made["endpoint"]["label"]) == ("/v1/webhooks/stripe/eu", "EU account")
        for each in (gateway, other):
            await until(each, "stripe/eu", EU)
    assert {delivery["endpoint"] for delivery in await deliveries(gateway, "endpoint=eu")} == {"eu"}


async def test_each_endpoint_verifies_by_its_own_secrets_and_the_plain_path_by_the_settings(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]})
    await call(gateway, "PUT", "/stripe/us", {"secrets": [US]})
    await until(gateway, "stripe/eu", EU)
    await until(gateway, "stripe/us", US)
    for place, secret in (("stripe/eu", US), ("stripe/us", EU), ("stripe/eu", SECRET), ("stripe", EU)):
        status, answer = await send(gateway, place, secret)
        assert (status, answer["reason"]) == (401, "signature_wrong"), place
    assert (await send(gateway, "stripe", SECRET))[0] == 200


async def test_the_same_event_by_two_ways_is_one_event(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/connect", {"secrets": [EU]})
    await call(gateway, "PUT", "/stripe/account", {"secrets": [US]})
    await until(gateway, "stripe/connect", EU)
    await until(gateway, "stripe/account", US)
    body = make_event(id="evt_both_ways")
    _, first = await send(gateway, "stripe/connect", EU, body)
    _, again = await send(gateway, "stripe/account", US, body)
    _, plain = await send(gateway, "stripe", SECRET, body)
    assert [answer["duplicate"] for answer in (first, again, plain)] == [False, True, True]
    logged = {str(row["id"]): row["endpoint"] for row in await gateway.rows("outbox")}
    assert logged[first["id"]] == "connect", "on its way to Kafka the event names the endpoint by which it came first"
    assert {answer["id"] for answer in (first, again, plain)} == {first["id"]}
    found = await deliveries(gateway, "limit=3")
    assert [(each["outcome"], each.get("endpoint")) for each in found] == [
        ("duplicate", None), ("duplicate", "account"), ("accepted", "connect"),
    ]  # fmt: skip


async def test_an_unknown_endpoint_is_refused_kept_and_recovered_once_it_is_there(gateway: Gateway) -> None:
    status, answer = await send(gateway, "stripe/eu", EU, make_event(id="evt_too_early"))
    assert (status, answer["reason"]) == (404, "endpoint_unknown")
    [refused] = await rejected(gateway, "eu")
    assert refused["reason"] == "endpoint_unknown"
    explained = await (await gateway.get(f"/v1/admin/webhooks/deliveries/{refused['id']}/explanation")).json()
    assert (explained["cause"], "stripe/eu" in explained["detail"]) == ("endpoint_unknown", True)
    await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]})
    await until(gateway, "stripe/eu", EU)
    asked = {"endpoint": "eu", "status": "rejected"}
    response = await gateway.ask("/v1/admin/webhooks/replay", asked)
    assert response.status == 202

    async def recovered() -> Any:
        return [each for each in await rejected(gateway, "eu") if each.get("recovered_as") or each.get("recoveredAs")] or None

    await eventually(recovered)
    rows = [row for row in await gateway.rows("webhook_deliveries") if row["provider_event_id"] == "evt_too_early"]
    assert [(row["outcome"], row["endpoint"]) for row in rows] == [("accepted", "eu")]


@pytest.mark.parametrize("name", ["EU", "e_u", "-eu", "e--u", "x" * 64, "e%00u", "..", "eu%2Fx"])
async def test_a_text_that_can_be_no_endpoint_is_unknown_and_not_in_the_log(gateway: Gateway, name: str) -> None:
    status, answer = await send(gateway, f"stripe/{name}", EU)
    assert (status, answer["reason"]) in ((404, "endpoint_unknown"), (404, "not_found"))
    await gateway.resources.rejections.flush()
    assert {row["endpoint"] for row in await gateway.rows("webhook_deliveries")} <= {None}
    page = await (await gateway.get("/metrics")).text()
    assert f'endpoint="{name}"' not in page


async def test_secrets_overlap_while_they_change_over_and_show_their_use(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]})
    await until(gateway, "stripe/eu", EU)
    status, changed = await call(gateway, "POST", "/stripe/eu/secrets", {"value": US})
    assert (status, [each["id"] for each in changed["endpoint"]["secrets"]]) == (201, [Secret(US).id, Secret(EU).id])
    await until(gateway, "stripe/eu", US)
    assert (await send(gateway, "stripe/eu", EU))[0] == 200
    found = (await (await gateway.get("/v1/admin/secrets")).json())["items"]
    mine = {each["id"]: each for each in found if each["setting"] == "endpoint stripe/eu"}
    assert [mine[Secret(each).id]["usesLastHour"] > 0 for each in (EU, US)] == [True, True]
    assert (await call(gateway, "DELETE", f"/stripe/eu/secrets/{Secret(EU).id}"))[0] == 200
    await until(gateway, "stripe/eu", EU, 401)
    assert (await send(gateway, "stripe/eu", US))[0] == 200


async def test_a_put_without_secrets_keeps_them_and_with_some_replaces_them(gateway: Gateway) -> None:
    _, made = await call(gateway, "PUT", "/stripe/eu", {"label": "One", "mode": "test", "secrets": [EU]})
    status, changed = await call(gateway, "PUT", "/stripe/eu", {"label": "Two"})
    assert (status, changed["endpoint"]["label"], "mode" in changed["endpoint"]) == (200, "Two", False)
    assert changed["endpoint"]["secrets"] == made["endpoint"]["secrets"]
    _, both = await call(gateway, "PUT", "/stripe/eu", {"secrets": [US, EU]})
    assert [each["id"] for each in both["endpoint"]["secrets"]] == [Secret(US).id, Secret(EU).id]
    assert both["endpoint"]["secrets"][1] == made["endpoint"]["secrets"][0]


async def test_an_event_of_the_other_mode_is_stored_and_ignored(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/eu", {"mode": "live", "secrets": [EU]})
    await until(gateway, "stripe/eu", EU)
    _, answer = await send(gateway, "stripe/eu", EU, make_event(livemode=False))
    assert (answer["ignored"], answer["reason"]) == (True, "other_mode")
    _, plain = await send(gateway, "stripe", SECRET, make_event(livemode=False))
    assert "ignored" not in plain
    explained = await (await gateway.get(f"/v1/admin/webhooks/deliveries/{answer['id']}/explanation")).json()
    assert "the mode of the endpoint stripe/eu" in explained["advice"]


@pytest.mark.parametrize("order", [("connect", "connect-test"), ("connect-test", "connect")])
async def test_an_event_at_the_endpoints_of_both_modes_is_handled_whichever_is_first(
    gateway: Gateway, order: tuple[str, str]
) -> None:
    await call(gateway, "PUT", "/stripe/connect", {"mode": "live", "secrets": [EU]})
    await call(gateway, "PUT", "/stripe/connect-test", {"mode": "test", "secrets": [US]})
    secrets = {"connect": EU, "connect-test": US}
    for name, secret in secrets.items():
        await until(gateway, f"stripe/{name}", secret)
    body = make_event(id="evt_both_modes", livemode=False)
    answers = [(await send(gateway, f"stripe/{name}", secrets[name], body))[1] for name in (*order, *order)]
    assert {answer["id"] for answer in answers} == {answers[0]["id"]}
    assert [answer["duplicate"] for answer in answers] == [False, True, True, True]
    rows = [row for row in await gateway.rows("webhook_deliveries") if row["provider_event_id"] == "evt_both_modes"]
    assert [(row["outcome"], row["reason"]) for row in rows if str(row["id"]) == answers[0]["id"]] == [("accepted", None)]
    assert sorted(row["outcome"] for row in rows) == ["accepted", "duplicate", "duplicate", "duplicate"]
    pending = [row for row in await gateway.rows("outbox_pending") if str(row["event_id"]) == answers[0]["id"]]
    assert len(pending) == 1
    assert (await (await gateway.get("/v1/admin/ledger")).json())["balanced"] is True


async def test_a_recovered_copy_that_sends_its_ignored_original_is_followed_to_its_end(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/connect", {"mode": "live", "secrets": [EU]})
    await call(gateway, "PUT", "/stripe/connect-test", {"mode": "test", "secrets": [WRONG]})
    await until(gateway, "stripe/connect", EU)
    await until(gateway, "stripe/connect-test", WRONG)
    body = make_event(livemode=False)
    _, original = await send(gateway, "stripe/connect", EU, body)
    assert (await send(gateway, "stripe/connect-test", US, body))[0] == 401
    [refused, *_] = await rejected(gateway, "connect-test")
    await call(gateway, "PUT", "/stripe/connect-test", {"mode": "test", "secrets": [US]})
    await until(gateway, "stripe/connect-test", US)

    replay_id = await taken_up(gateway, ids=[refused["id"]])
    assert figures(await progress(gateway, replay_id)) == {"state": "running", "matched": 1, "enqueued": 1}
    assert (UUID(original["id"]), UUID(replay_id)) in await carried(gateway)
    assert figures(await ended(gateway, replay_id)) == {"state": "done", "matched": 1, "enqueued": 1, "processed": 1}

    again = await replayed(gateway, ids=[refused["id"]])
    assert figures(again) == {"state": "done", "matched": 1, "unchanged": 1}
    assert await carried(gateway) == []


async def test_an_event_that_states_no_mode_is_of_the_mode_of_its_endpoint(start_gateway: StartGateway) -> None:
    body = razorpay.Payment().captured()
    async with start_gateway(**SETTINGS, RAZORPAY_WEBHOOK_SECRET="razorpay-plain") as gateway:
        await call(gateway, "PUT", "/razorpay/sandbox", {"mode": "test"})
        status, made = await call(gateway, "POST", "/razorpay/sandbox/secrets", {})
        secret = made["newSecrets"][0]["value"]
        assert status == 201

        async def taken() -> Any:
            answered, answer = await send(gateway, "razorpay/sandbox", secret, body)
            return answer if answered == 200 else None

        answer = await eventually(taken)
        [row] = [row for row in await gateway.rows("webhook_deliveries") if str(row["id"]) == answer["id"]]
        assert (row["livemode"], row["endpoint"], row["outcome"]) == (False, "sandbox", "accepted")


async def test_a_removed_endpoint_is_unknown_and_its_series_end(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]})
    await until(gateway, "stripe/eu", EU)
    await send(gateway, "stripe/eu", US)
    page = await (await gateway.get("/metrics")).text()
    assert 'tallyhook_webhooks_received_total{endpoint="eu",outcome="accepted",source="stripe"}' in page
    assert 'tallyhook_refusals_total{endpoint="eu",reason="signature_wrong",source="stripe"}' in page
    assert (await call(gateway, "DELETE", "/stripe/eu"))[0] == 200
    answer = await until(gateway, "stripe/eu", EU, 404)
    assert answer["reason"] == "endpoint_unknown"
    assert 'endpoint="eu"' not in await (await gateway.get("/metrics")).text()
    assert (await call(gateway, "GET", "/stripe/eu"))[0] == 404
    assert (await call(gateway, "DELETE", "/stripe/eu"))[1]["reason"] == "not_found"
    assert await deliveries(gateway, "outcome=accepted&endpoint=eu")


async def test_the_ledger_shows_each_endpoint_beside_its_source(gateway: Gateway) -> None:
    for name, secret in (("eu", EU), ("us", US)):
        await call(gateway, "PUT", f"/stripe/{name}", {"secrets": [secret]})
        await until(gateway, f"stripe/{name}", secret)
    await send(gateway, "stripe", SECRET)
    await send(gateway, "stripe/us", US, make_event(id="evt_again"))
    await send(gateway, "stripe/eu", EU, make_event(id="evt_again"))
    ledger = await (await gateway.get("/v1/admin/ledger")).json()
    [whole] = [each for each in ledger["sources"] if each["source"] == "stripe"]
    parts = {each["endpoint"]: each for each in ledger["endpoints"]}
    assert ledger["balanced"] is True
    assert {name: each["duplicates"] for name, each in parts.items()} == {"eu": 1, "us": 0}
    plain = len([row for row in await gateway.rows("webhook_deliveries") if row["endpoint"] is None])
    assert whole["received"] == plain + sum(each["received"] for each in parts.values())
    linked = await (await gateway.get(parts["eu"]["links"]["duplicates"])).json()
    assert [each["endpoint"] for each in linked["items"]] == ["eu"]


async def test_a_flood_of_wrong_signatures_at_one_endpoint_is_an_alert_about_it(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]})
    await until(gateway, "stripe/eu", EU)
    for _ in range(25):
        await send(gateway, "stripe/eu", US)
    await gateway.resources.rejections.flush()
    alerts = [json.loads(row["data"]) for row in await gateway.rows("outbox") if row["topic"] == "alert.events"]
    assert [(alert["alert"], alert["subject"]) for alert in alerts] == [("signature_failures", "stripe/eu")]


async def test_a_delivery_signed_by_another_endpoint_is_explained(gateway: Gateway) -> None:
    for name, secret in (("eu", EU), ("us", US)):
        await call(gateway, "PUT", f"/stripe/{name}", {"secrets": [secret]})
        await until(gateway, f"stripe/{name}", secret)
    await send(gateway, "stripe/eu", US)
    [refused] = [each for each in await rejected(gateway, "eu") if each["reason"] == "signature_wrong"]
    explained = await (await gateway.get(f"/v1/admin/webhooks/deliveries/{refused['id']}/explanation")).json()
    assert (explained["cause"], "endpoint stripe/us" in explained["detail"]) == ("secret_of_other_source", True)


async def test_no_secret_is_shown_again_or_stored_as_it_is(gateway: Gateway) -> None:
    _, made = await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]})
    status, shown = await call(gateway, "GET", "/stripe/eu")
    assert (status, shown["secrets"][0]["id"], shown["version"]) == (200, Secret(EU).id, 1)
    for text in (json.dumps(made), json.dumps(shown), str(await gateway.rows("endpoints")), str(await call(gateway, "GET", ""))):
        assert EU not in text


async def test_a_gateway_that_lacks_the_key_refuses_no_client_for_good(gateway: Gateway, start_gateway: StartGateway) -> None:
    await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]})
    async with start_gateway(SECRET_KEYS=new_key()) as other:
        answer = await until(other, "stripe/eu", EU, 503)
        assert answer["reason"] == "postgres_unavailable"
        assert (await call(other, "GET", "/stripe/eu"))[1]["unreadable"] is True
        assert (await call(other, "PUT", "/stripe/eu", {}))[1]["reason"] == "seal_unreadable"


async def test_every_fault_is_reported_at_once(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        body = {"mode": "production", "label": "", "colour": "red", "secrets": ["sk_live_4eC39HqLyjWDarjtT1zdp7dc", "short"]}
        status, answer = await call(gateway, "PUT", "/stripes/EU_West", body)
        assert (status, answer["reason"]) == (422, "field_invalid")
        for part in ("provider", "slug", "$.mode", "$.label", "colour", "$.secrets", "seal_keys_missing"):
            assert part in answer["detail"], part
        assert "sk_live" not in answer["detail"]
        status, answer = await call(
            gateway, "PUT", "/stripe/eu", {"secrets": ["sk_live_4eC39HqLyjWDarjtT1zdp7dc", "not-of-stripe"]}
        )
        assert (status, answer["reason"]) == (422, "secret_invalid")
        for part in ("the secret 1 of 2", "the secret 2 of 2", "whsec_", "seal_keys_missing"):
            assert part in answer["detail"], part
        assert await gateway.rows("endpoints") == []


REFUSED: Final = (
    ("/stripe/eu", {"mode": "production"}, "field_invalid"),
    ("/stripe/EU", {}, "field_invalid"),
    ("/stripe/eu.west", {}, "field_invalid"),
    ("/paypal/eu", {}, "field_invalid"),
    ("/stripe/eu", {"secrets": ["rk_live_4eC39HqLyjWDarjtT1zdp7dc"]}, "secret_invalid"),
    ("/stripe/eu", {"secrets": ["a-secret-of-razorpay"]}, "secret_invalid"),
    ("/stripe/eu", {"secrets": ["whsec_…"]}, "field_invalid"),
    ("/razorpay/eu", {"secrets": ["whsec_of_the_european_account"]}, "secret_invalid"),
    ("/razorpay/eu", {"secrets": ["a-token-of-the-operators"]}, "secret_invalid"),
    ("/stripe/eu", {"expectedVersion": 3}, "version_stale"),
)


async def test_an_impossible_endpoint_is_refused(start_gateway: StartGateway) -> None:
    async with start_gateway(**SETTINGS, ADMIN_API_TOKEN=f"{ADMIN['X-Internal-Token']},a-token-of-the-operators") as gateway:
        for path, body, reason in REFUSED:
            status, answer = await call(gateway, "PUT", path, body)
            assert (answer["reason"], status in (409, 422)) == (reason, True), (path, body)
        assert await gateway.rows("endpoints") == []


async def test_another_spelling_of_an_endpoint_is_not_another_endpoint(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/eu-west", {})
    status, answer = await call(gateway, "PUT", "/stripe/EU_West", {})
    assert (status, answer["reason"], "eu-west, which exists already" in answer["detail"]) == (422, "field_invalid", True)


async def test_a_secret_of_the_plain_path_may_move_to_its_endpoint(gateway: Gateway) -> None:
    assert (await call(gateway, "PUT", "/stripe/eu", {"secrets": [f"{SECRET}_and_more"]}))[0] == 201
    assert (await call(gateway, "POST", "/stripe/eu/secrets", {}))[1]["reason"] == "secret_invalid"


async def test_a_service_may_not_see_or_change_endpoints(gateway: Gateway) -> None:
    for method, path in (("GET", ""), ("GET", "/stripe/eu"), ("PUT", "/stripe/eu"), ("DELETE", "/stripe/eu")):
        status, answer = await call(gateway, method, path, {}, SERVICE)
        assert (status, answer["reason"]) == (403, "admin_token_needed")


async def test_each_change_is_in_the_audit_log_with_its_endpoint(gateway: Gateway) -> None:
    await call(gateway, "PUT", "/stripe/eu", {"secrets": [EU]})
    await call(gateway, "PUT", "/stripe/whsec_not_a_name", {})
    await gateway.resources.audit.flush()
    rows = await gateway.rows("audit_log")
    assert [(row["method"], row["path"], row["status"]) for row in rows] == [
        ("PUT", "/v1/admin/endpoints/stripe/eu", 201), ("PUT", "/v1/admin/endpoints/{provider}/{id}", 422),
    ]  # fmt: skip
    assert EU not in str(rows)


async def test_the_doctor_names_endpoints_that_cannot_verify_and_those_of_the_wrong_mode(
    gateway: Gateway, database_url: str
) -> None:
    environ = {
        "DATABASE_URL": database_url, "STRIPE_WEBHOOK_SECRET": SECRET, "SECRET_KEYS": KEY,
        "INTERNAL_API_TOKEN": "q7Rk2mZx9vNb4tLw8yPc", "ADMIN_API_TOKEN": "H3fJ6sDg1aQe5uTi0oBn",
    }  # fmt: skip

    async def findings(**changes: str) -> dict[str, str]:
        """Return the texts and levels of the bad findings, by the endpoint that they name."""
        found = await asyncio.to_thread(lambda: [*check_refusals(environ | changes)])
        texts = [f"{finding.level}: {finding.text}" for finding in found if finding.level != "ok"]
        return {place: text for text in texts for place in re.findall(r"stripe/[a-z]+", text)}

    for name, mode in (("right", "live"), ("other", "test"), ("both", "any")):
        await call(gateway, "PUT", f"/stripe/{name}", {"mode": mode, "secrets": [f"{EU}-{name}"]})
        await until(gateway, f"stripe/{name}", f"{EU}-{name}")  # a live event
    mismatch = "warn: the endpoint stripe/other is for test events, and all 1 that came within the day are of the other mode"
    assert await findings() == {"stripe/other": mismatch}
    await call(gateway, "PUT", "/stripe/empty", {"label": "No secret yet"})
    text = "warn: the endpoint stripe/empty has no secret, and refuses every delivery"
    assert (await findings())["stripe/empty"] == text
    lost = await findings(SECRET_KEYS=new_key())
    assert {place for place, text in lost.items() if text.startswith("fail: the secrets of the endpoint")} >= {
        "stripe/right",
        "stripe/both",
    }
