"""Mode and account are kept on every delivery and event; deliveries of the unwanted mode are only stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.operations.test_ledger_routes import stripe as ledger_of_stripe
from tests.integration.operations.webhook_replaying import carried, ended, figures, post, refused, replayed, taken_up
from tests.simulators import razorpay
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

SOURCE: Final = {"source": "stripe"}
ABSENT: Final = object()


def marked(body: bytes, **marks: object) -> bytes:
    """Return the event with other top-level fields; ABSENT removes one."""
    changed = {**json.loads(body), **marks}
    return json.dumps({name: value for name, value in changed.items() if value is not ABSENT}).encode()


def of_mode(livemode: object, **marks: object) -> bytes:
    return marked(Payment().succeeded(), livemode=livemode, **marks)


async def listed(gateway: Gateway, query: str) -> list[dict[str, Any]]:
    response = await gateway.get(f"/v1/admin/webhooks/deliveries?{query}")
    assert response.status == 200, await response.text()
    items: list[dict[str, Any]] = (await response.json())["items"]
    return items


async def taken(gateway: Gateway, body: bytes) -> dict[str, Any]:
    response = await gateway.post(body)
    assert response.status == 200, await response.text()
    answer: dict[str, Any] = await response.json()
    return answer


async def pending(gateway: Gateway) -> list[str]:
    return [str(row["event_id"]) for row in await gateway.rows("outbox_pending")]


@pytest.mark.parametrize(
    ("marks", "livemode", "account"),
    [
        ({"livemode": True}, True, None),
        ({"livemode": False, "account": "acct_1"}, False, "acct_1"),
        ({"livemode": True, "account": "acct_1", "context": "acct_platform/acct_1"}, True, "acct_1"),
        ({"livemode": True, "context": "acct_2"}, True, "acct_2"),
        ({"livemode": True, "context": "acct_platform/acct_2"}, True, "acct_2"),
        ({"livemode": ABSENT, "account": None, "context": None}, None, None),
        ({"livemode": None, "account": ""}, None, None),
        ({"livemode": True, "account": "acct\x00_1"}, True, None),
        ({"livemode": True, "account": "a" * 300, "context": "acct_3"}, True, "acct_3"),
    ],
)
async def test_a_delivery_and_its_event_have_the_mode_and_the_account_that_the_event_states(
    gateway: Gateway, marks: dict[str, object], livemode: bool | None, account: str | None
) -> None:
    answer = await taken(gateway, marked(Payment().succeeded(), **marks))
    [delivery], [event] = await gateway.rows("webhook_deliveries"), await gateway.rows("outbox")
    assert (delivery["livemode"], delivery["account"]) == (event["livemode"], event["account"]) == (livemode, account)
    shown = await (await gateway.get(f"/v1/admin/webhooks/deliveries/{answer['id']}")).json()
    assert (shown.get("livemode"), shown.get("account")) == (livemode, account)


async def test_razorpay_names_the_account_and_no_mode(start_gateway: StartGateway) -> None:
    async with start_gateway(RAZORPAY_WEBHOOK_SECRET="rzp-secret", STRIPE_MODE="live") as gateway:
        body = razorpay.Payment().captured()
        headers = {"X-Razorpay-Signature": razorpay.sign(body, "rzp-secret"), "Content-Type": "application/json"}
        async with gateway.client.post(f"{gateway.public}/v1/webhooks/razorpay", data=body, headers=headers) as response:
            assert response.status == 200
        [delivery] = await listed(gateway, "account=acc_BFQ7uQEaa7j2z7")
    assert (delivery["outcome"], "livemode" in delivery) == ("accepted", False)


async def test_the_list_is_narrowed_to_a_mode_an_account_and_a_reason(gateway: Gateway) -> None:
    live = await taken(gateway, of_mode(True, account="acct_1"))
    test = await taken(gateway, of_mode(False, account="acct_1"))
    other = await taken(gateway, of_mode(True, account="acct_2"))
    silent = await taken(gateway, of_mode(ABSENT))
    ignored = await taken(gateway, marked(of_mode(ABSENT), type="radar.early_fraud_warning.created"))
    for query, expected in {
        "mode=live": [other, live],
        "mode=test": [test],
        "account=acct_1": [test, live],
        "mode=live&account=acct_2": [other],
        "account=acct_3": [],
        "reason=type_not_handled": [ignored],
        "": [ignored, silent, other, test, live],
    }.items():
        assert [item["id"] for item in await listed(gateway, query)] == [answer["id"] for answer in expected], query
    assert (await gateway.get("/v1/admin/webhooks/deliveries?mode=any")).status == 400


@pytest.mark.parametrize("mode", ["live", "test"])
async def test_an_event_of_the_other_mode_is_taken_stored_and_goes_nowhere(start_gateway: StartGateway, mode: str) -> None:
    async with start_gateway(STRIPE_MODE=mode) as gateway:
        wanted, silent = await taken(gateway, of_mode(mode == "live")), await taken(gateway, of_mode(ABSENT))
        body = of_mode(mode != "live", account="acct_1")
        answer = await taken(gateway, body)
        assert (answer["received"], answer["ignored"], answer["reason"]) == (True, True, "other_mode")
        assert [name for answered in (wanted, silent) for name in ("ignored", "reason") if name in answered] == []
        assert (await taken(gateway, body))["duplicate"] is True
        assert sorted(await pending(gateway)) == sorted([wanted["id"], silent["id"]])
        assert len(await gateway.rows("outbox")) == 3
        [delivery] = await listed(gateway, "outcome=ignored&reason=other_mode")
        assert (delivery["id"], delivery["livemode"], delivery["account"]) == (answer["id"], mode != "live", "acct_1")
        source = await ledger_of_stripe(gateway)
        assert (source["balanced"], source["ignored"], source["duplicates"], source["inFlight"]) == (True, 1, 1, 2)
        metrics = await (await gateway.get("/metrics")).text()
        assert 'tallyhook_webhooks_ignored_total{endpoint="",reason="other_mode",source="stripe"}' in metrics
        explained = await (await gateway.get(f"/v1/admin/webhooks/deliveries/{answer['id']}/explanation")).json()
        assert (explained["cause"], "STRIPE_MODE" in explained["advice"]) == ("other_mode", True)


async def test_a_restart_with_another_mode_takes_effect_and_a_replay_judges_by_it(start_gateway: StartGateway) -> None:
    async with start_gateway(STRIPE_MODE="live") as gateway:
        ignored = await taken(gateway, of_mode(False))
        found = await replayed(gateway, status="ignored")
        assert (figures(found), await pending(gateway)) == ({"state": "done", "matched": 1, "unchanged": 1}, [])
        [item] = (await (await gateway.get(f"/v1/admin/replays/{found['replayId']}/items")).json())["items"]
        assert item["reason"] == "other_mode"
        _, preview = await post(gateway, "/v1/admin/webhooks/replay", {**SOURCE, "dryRun": True})
        assert (preview["unchanged"], preview["unprocessed"], preview["groups"][0]["livemode"]) == (1, 0, False)
    async with start_gateway(STRIPE_MODE="any") as gateway:
        _, preview = await post(gateway, "/v1/admin/webhooks/replay", {"mode": "test", "dryRun": True})
        assert (preview["unchanged"], preview["unprocessed"]) == (0, 1)
        replay_id = await taken_up(gateway, mode="test", status="ignored")
        assert [str(event_id) for event_id, _ in await carried(gateway)] == [ignored["id"]]
        assert figures(await ended(gateway, replay_id)) == {
            "state": "done", "matched": 1, "enqueued": 1, "processed": 1,
        }  # fmt: skip
        [delivery] = await listed(gateway, "mode=test")
        assert (delivery["outcome"], "reason" in delivery) == ("accepted", False)
    async with start_gateway(STRIPE_MODE="live") as gateway:
        found = await replayed(gateway, mode="test")
        assert (figures(found), await pending(gateway)) == ({"state": "done", "matched": 1, "unchanged": 1}, [])


async def test_a_delivery_verified_later_is_judged_by_its_mode_too(start_gateway: StartGateway) -> None:
    async with start_gateway(STRIPE_MODE="live") as gateway:
        await refused(gateway, 1)  # the simulator's events are of the test mode
    async with start_gateway(STRIPE_MODE="live", STRIPE_WEBHOOK_SECRET="whsec_wrong") as gateway:
        found = await replayed(gateway, status="rejected")
        assert figures(found) == {"state": "done", "matched": 1, "processed": 1}
        [item] = (await (await gateway.get(f"/v1/admin/replays/{found['replayId']}/items")).json())["items"]
        assert (item["reason"], await pending(gateway)) == ("other_mode", [])
        assert [item["outcome"] for item in await listed(gateway, "reason=other_mode")] == ["ignored"]


async def test_a_replay_is_narrowed_to_a_mode_and_an_account(gateway: Gateway) -> None:
    for livemode, account in ((True, "acct_1"), (False, "acct_1"), (True, "acct_2"), (ABSENT, ABSENT)):
        await taken(gateway, of_mode(livemode, account=account))
    await carried(gateway)
    for asked, matched in (({"mode": "live"}, 2), ({"account": "acct_1"}, 2), ({"mode": "live", "account": "acct_1"}, 1)):
        found = await replayed(gateway, **asked)
        assert (found["matched"], found["filters"]) == (matched, asked)
    for asked in ({"mode": "live"}, {"account": "acct_1"}):
        status, problem = await post(gateway, "/v1/admin/webhooks/replay", {"status": "rejected", **asked})
        assert (status, problem["reason"]) == (422, "filter_contradictory")
    assert (await post(gateway, "/v1/admin/webhooks/replay", {"mode": "any"}))[0] == 422
