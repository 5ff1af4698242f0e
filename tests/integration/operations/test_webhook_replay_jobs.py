"""A replay of webhooks as a job: its request, its pages, its end, and its command."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg

from operations.webhook_replay import jobs
from runtime.ids import id_at, new_id
from tests.command import tallyhook_beside
from tests.gateways import ADMIN, SECRET, SERVICE
from tests.integration.operations.webhook_replaying import (
    WRONG,
    carried,
    figures,
    payments,
    post,
    progress,
    refused,
    replayed,
)
from tests.simulators import stripe
from tests.waiting import eventually

if TYPE_CHECKING:
    import pytest

    from tests.gateways import Gateway, StartGateway


async def test_a_dry_run_reports_what_would_happen_and_changes_nothing(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        await payments(gateway, 2)
        await carried(gateway)
        await payments(gateway, 1)
        await carried(gateway, handled=False)
        await refused(gateway, 2)
    async with start_gateway(STRIPE_WEBHOOK_SECRET=f"{SECRET},{WRONG}") as gateway:
        tables = (
            "webhook_deliveries",
            "outbox",
            "outbox_pending",
            "consumed",
            "dedup",
            "webhook_replays",
            "webhook_replay_items",
        )
        before = [await gateway.rows(table) for table in tables]
        status, found = await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "dryRun": True})
        assert status == 200
        assert (found["matched"], found["unchanged"], found["unprocessed"]) == (5, 2, 1)
        assert found["rejected"] == {"matched": 2, "checked": 2, "recoverable": 2, "stillRefused": {}}
        accepted = {"source": "stripe", "outcome": "accepted", "type": "payment_intent.succeeded", "count": 3, "marked": 2}
        accepted |= {"livemode": False, "endpoint": None, "deadLettered": 0}
        assert found["groups"] == [
            accepted,
            {**accepted, "outcome": "rejected", "type": None, "livemode": None, "count": 2, "marked": 0},
        ]
        assert [await gateway.rows(table) for table in tables] == before


async def test_a_delivery_to_a_gateway_whose_clock_was_ahead_is_matched(gateway: Gateway, database_url: str) -> None:
    ahead = id_at(datetime.now(UTC) + timedelta(hours=2))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into webhook_deliveries (id, source, outcome, reason, trace_id) values (%s, 'stripe', 'rejected', 'x', '')",
            (ahead,),
        )
    _, found = await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "dryRun": True})
    assert found["matched"] == 1


async def test_filters_narrow_together_and_a_limit_takes_the_oldest(gateway: Gateway) -> None:
    await payments(gateway, 3)
    await gateway.post(stripe.Payment().created())
    events = [event_id for event_id, _ in await carried(gateway)]
    rows = await gateway.rows("webhook_deliveries")
    ids = [str(row["id"]) for row in rows]

    async def matched(**asked: Any) -> int:
        _, found = await post(gateway, "/v1/admin/webhooks/replay", {"dryRun": True, **asked})
        return int(found["matched"])

    now = datetime.now(UTC)
    assert await matched(ids=ids[:2]) == 2
    assert await matched(ids=ids, types=["payment_intent.created"]) == 1
    assert await matched(source="razorpay") == 0
    assert await matched(**{"from": (now - timedelta(minutes=5)).isoformat()}) == 4
    assert await matched(to=(now - timedelta(minutes=5)).isoformat()) == 0
    found = await replayed(gateway, source="stripe", limit=2)
    assert figures(found)["matched"] == 2
    assert [event_id for event_id, _ in await carried(gateway)] == events[:2]


SENSELESS: Final[list[tuple[dict[str, Any], str]]] = [
    ({}, "filter_missing"),
    ({"dryRun": True, "limit": 5}, "filter_missing"),
    ({"status": "rejected", "types": ["charge.refunded"]}, "filter_contradictory"),
    ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "filter_contradictory"),
    ({"status": "lost"}, "field_invalid"),
    ({"ids": []}, "field_invalid"),
    ({"ids": ["not-an-id"]}, "field_invalid"),
    ({"source": "stripe\u0000"}, "field_invalid"),
    ({"source": "stripe", "reason": "a\u0000b"}, "field_invalid"),
    ({"source": "stripe", "limit": 0}, "field_invalid"),
    ({"source": "stripe", "limit": 100_001}, "field_invalid"),
    ({"source": "stripe", "rate": 0}, "field_invalid"),
    ({"source": "stripe", "rate": 1001}, "field_invalid"),
    ({"source": "stripe", "sinc": "yesterday"}, "field_invalid"),
    ({"from": "yesterday"}, "field_invalid"),
]


async def test_a_nonsensical_request_is_refused(gateway: Gateway) -> None:
    answers = [await post(gateway, "/v1/admin/webhooks/replay", body) for body, _ in SENSELESS]
    assert [(status, problem["reason"]) for status, problem in answers] == [(422, reason) for _, reason in SENSELESS]
    assert await gateway.rows("webhook_replays") == []


async def test_more_than_can_be_meant_is_refused_unless_a_limit_allows_it(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.webhook_replay.jobs.MATCHED_MAX", 2)
    await payments(gateway, 3)
    for dry_run in (True, False):
        answered, problem = await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "dryRun": dry_run})
        assert (answered, problem["reason"]) == (422, "replay_too_large")
    assert await gateway.rows("webhook_replays") == []
    assert (await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "limit": 2}))[1]["matched"] == 2


async def test_a_replay_needs_an_admin_and_is_in_the_audit_log(gateway: Gateway) -> None:
    assert (await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe"}, SERVICE))[0] == 403
    found = await replayed(gateway, source="stripe")
    assert figures(found) == {"state": "done"}
    await gateway.resources.audit.flush()
    calls = [row for row in await gateway.rows("audit_log") if row["path"] == "/v1/admin/webhooks/replay"]
    assert [row["status"] for row in calls] == [403, 202]
    assert calls[1]["secret_id"] == found["requestedBy"]


async def test_the_same_call_again_under_its_key_is_the_same_replay(gateway: Gateway) -> None:
    await payments(gateway, 1)
    headers = {**ADMIN, "Idempotency-Key": "once"}
    first = await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe"}, headers)
    assert await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe"}, headers) == first
    assert len(await gateway.rows("webhook_replays")) == 1


async def test_a_replay_that_is_called_off_takes_nothing_up_any_more(gateway: Gateway) -> None:
    await payments(gateway, 5)
    await carried(gateway)
    _, begun = await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "rate": 0.01})
    replay_id = begun["replayId"]

    async def first() -> bool | None:
        return (await progress(gateway, replay_id))["enqueued"] == 1 or None

    await eventually(first)
    status, found = await post(gateway, f"/v1/admin/replays/{replay_id}/cancel", {})
    assert (status, found["state"], found["waiting"], found["enqueued"]) == (200, "cancelled", 4, 1)
    assert (await post(gateway, f"/v1/admin/replays/{replay_id}/cancel", {}))[0] == 200
    done = await replayed(gateway, source="razorpay")
    assert (await post(gateway, f"/v1/admin/replays/{done['replayId']}/cancel", {}))[1]["reason"] == "replay_ended"
    listed = (await (await gateway.get("/v1/admin/replays")).json())["items"]
    assert [each["replayId"] for each in listed] == [done["replayId"], replay_id]


async def test_pages_of_replays_and_of_items_go_on_where_the_last_one_ended(gateway: Gateway) -> None:
    await payments(gateway, 3)
    await carried(gateway)
    ids = [(await replayed(gateway, source="stripe"))["replayId"] for _ in range(3)]
    first = await (await gateway.get("/v1/admin/replays?limit=2")).json()
    rest = await (await gateway.get(f"/v1/admin/replays?limit=2&cursor={first['next']}")).json()
    assert [each["replayId"] for each in (*first["items"], *rest["items"])] == ids[::-1]
    path = f"/v1/admin/replays/{ids[0]}/items"
    first = await (await gateway.get(f"{path}?limit=2&state=unchanged")).json()
    rest = await (await gateway.get(f"{path}?limit=2&state=unchanged&cursor={first['next']}")).json()
    assert [item["n"] for item in (*first["items"], *rest["items"])] == [1, 2, 3]
    assert "next" not in rest
    for wrong in ("state=lost", "cursor=x", "limit=0", "since=1"):
        assert (await gateway.get(f"{path}?{wrong}")).status == 400
    for unknown in (str(new_id()), "x"):
        assert (await gateway.get(f"/v1/admin/replays/{unknown}")).status == 404
        assert (await gateway.get(f"/v1/admin/replays/{unknown}/items")).status == 404
        assert (await post(gateway, f"/v1/admin/replays/{unknown}/cancel", {}))[0] == 404


async def test_a_replay_is_forgotten_with_its_items_after_the_retention_unless_it_still_runs(gateway: Gateway) -> None:
    await payments(gateway, 2)
    await carried(gateway)
    await replayed(gateway, source="stripe")
    _, running = await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "rate": 0.001})
    with psycopg.connect(gateway._database_url, autocommit=True) as connection:
        assert jobs.forget_replays(connection, datetime.now(UTC) - timedelta(days=1)) == 0
        assert jobs.forget_replays(connection, datetime.now(UTC) + timedelta(days=1)) == 1
    assert [str(row["id"]) for row in await gateway.rows("webhook_replays")] == [running["replayId"]]
    assert {str(row["replay_id"]) for row in await gateway.rows("webhook_replay_items")} == {running["replayId"]}


async def test_the_command_line_starts_follows_and_cancels_in_the_name_of_its_user(gateway: Gateway) -> None:
    await payments(gateway, 2)
    await carried(gateway)
    status, found, _ = await command(
        gateway, "replay", "webhooks", "--source", "stripe", "--type", "payment_intent.succeeded", "--json"
    )
    assert (status, figures(json.loads(found))) == (0, {"state": "done", "matched": 2, "enqueued": 2, "unchanged": 2})

    slow = ("--from", "1h", "--rate", "0.001", "--reason", "slowly", "--no-wait", "--json")
    _, begun, _ = await command(gateway, "replay", "webhooks", *slow)
    replay_id = json.loads(begun)["replayId"]
    status, called_off, _ = await command(gateway, "replay", "cancel", replay_id, "--json")
    assert (status, json.loads(called_off)["state"]) == (0, "cancelled")
    _, shown, _ = await command(gateway, "replay", "show", "--json")
    latest = json.loads(shown)["items"][0]
    assert (latest["replayId"], latest["reason"]) == (replay_id, "slowly")
    noted = {row["path"]: row["client"] for row in await gateway.rows("audit_log") if row["method"] == "CLI"}
    assert (
        noted[f"tallyhook replay webhooks {replay_id}"] == noted[f"tallyhook replay cancel {replay_id}"] == latest["requestedBy"]
    )


async def test_the_command_line_fails_if_something_failed_and_reports_a_wrong_argument_in_one_line(
    gateway: Gateway,
) -> None:
    await refused(gateway, 1)
    status, found, error = await command(gateway, "replay", "webhooks", "--status", "rejected", "--json")
    assert (status, json.loads(found)["failures"]) == (1, {"signature_wrong": 1})
    assert error == "tallyhook: some failed: see runbooks/replay-webhooks.md\n"
    for words, message in {
        (): "filter_missing: ",
        ("--status", "lost"): "--status is one of accepted, duplicate, ignored, rejected",
        ("--source", "stripe", "--rate", "0"): "--rate is more than 0 and at most 1000",
        ("--from", "yesterday"): "'yesterday' is neither a time",
    }.items():
        status, _, error = await command(gateway, "replay", "webhooks", *words)
        assert (status, error.count("\n")) == (1, 1)
        assert error.startswith(f"tallyhook: {message}")


async def command(gateway: Gateway, *words: str) -> tuple[int, str, str]:
    done = await tallyhook_beside({**os.environ, "DATABASE_URL": gateway._database_url}, *words)
    return done.returncode, done.stdout, done.stderr
