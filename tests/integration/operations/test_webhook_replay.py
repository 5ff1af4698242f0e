"""Replays of webhooks by the real gateway on a real Postgres: what is sent again, what is recovered, and what changes nothing."""

from __future__ import annotations

import json
import os
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from operations.webhook_replay import jobs
from outbox import relay_store
from runtime.ids import first_id_of, new_id
from tests.command import tallyhook_beside
from tests.gateways import ADMIN, SECRET, SERVICE
from tests.integration.gateway.test_webhooks import THIN
from tests.simulators import stripe
from tests.simulators.partner import lead, sign
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.gateways import Gateway, StartGateway

WRONG: Final = "whsec_wrong"
PARTNER: Final = {"PARTNER_ACME_SECRET": "acme-secret", "PARTNER_ACME_TOKEN": "acme-token"}


async def post(gateway: Gateway, path: str, body: Any, headers: dict[str, str] = ADMIN) -> tuple[int, Any]:
    async with gateway.client.post(f"{gateway.internal}{path}", json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def replayed(gateway: Gateway, **asked: Any) -> dict[str, Any]:
    """Ask for a replay and see it end."""
    status, begun = await post(gateway, "/v1/admin/webhooks/replay", {"rate": 1000, **asked})
    assert status == 202, begun
    return await ended(gateway, begun["replayId"])


async def taken_up(gateway: Gateway, **asked: Any) -> str:
    """Ask for a replay and see each of its deliveries taken up; its id."""
    status, begun = await post(gateway, "/v1/admin/webhooks/replay", {"rate": 1000, **asked})
    assert status == 202, begun

    async def look() -> str | None:
        return None if (await progress(gateway, begun["replayId"]))["waiting"] else begun["replayId"]

    return await eventually(look)


async def ended(gateway: Gateway, replay_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await progress(gateway, replay_id)
        return None if found["state"] == "running" else found

    return await eventually(look)


async def progress(gateway: Gateway, replay_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await (await gateway.get(f"/v1/admin/replays/{replay_id}")).json()
    assert found["matched"] == sum(found[part] for part in ("waiting", "inFlight", "processed", "unchanged", "failed"))
    return found


def figures(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("state", "matched", "enqueued", "processed", "unchanged", "failed") if found[name]}


@asynccontextmanager
async def database(gateway: Gateway) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(gateway._database_url, autocommit=True) as connection:
        yield connection


async def carried(gateway: Gateway, *, handled: bool = True) -> list[tuple[UUID, UUID | None]]:
    """Take everything off the relay's list, as the relay and the worker would; the events and their replays, in order."""
    async with database(gateway) as connection, connection.transaction():
        rows = await (await connection.execute("delete from outbox_pending returning id, event_id, replay_id")).fetchall()
        if handled:
            await connection.cursor().executemany(
                "insert into consumed (event_id, consumer) select id, case topic when 'lead.partner.events' then 'leads' "
                "else 'payments' end from outbox where id = %s on conflict do nothing",
                [(row[1],) for row in rows],
            )
    return [(row[1], row[2]) for row in sorted(rows)]


async def payments(gateway: Gateway, number: int, **how: Any) -> list[bytes]:
    bodies = [stripe.Payment().succeeded() for _ in range(number)]
    for body in bodies:
        await gateway.post(body, **how)
    return bodies


async def refused(gateway: Gateway, number: int) -> list[bytes]:
    bodies = await payments(gateway, number, secret=WRONG)
    await gateway.resources.rejections.flush()
    return bodies


async def test_what_was_handled_goes_out_again_under_the_same_id_and_is_counted_as_unchanged(gateway: Gateway) -> None:
    await payments(gateway, 3)
    first = [event_id for event_id, _ in await carried(gateway)]
    found = await replayed(gateway, source="stripe", reason="subscriber lost its copy")
    assert figures(found) == {"state": "done", "matched": 3, "enqueued": 3, "unchanged": 3}
    assert await carried(gateway) == [(event_id, UUID(found["replayId"])) for event_id in first]
    assert (found["reason"], found["filters"]) == ("subscriber lost its copy", {"source": "stripe"})


async def test_what_was_never_handled_is_processed_once_its_mark_is_there(gateway: Gateway) -> None:
    await payments(gateway, 2)
    await carried(gateway, handled=False)
    replay_id = await taken_up(gateway, status="accepted")
    assert (await progress(gateway, replay_id))["inFlight"] == 2
    await carried(gateway)
    assert figures(await ended(gateway, replay_id)) == {"state": "done", "matched": 2, "enqueued": 2, "processed": 2}


async def test_a_dead_letter_of_a_replayed_event_is_a_failure_with_its_reason(gateway: Gateway) -> None:
    await payments(gateway, 1)
    ((event_id, _),) = await carried(gateway, handled=False)
    replay_id = await taken_up(gateway, source="stripe")
    async with database(gateway) as connection:
        await connection.execute(
            'insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers, event_id) '
            "values (%s, 'payments', 'handler_failed', '', 'webhooks.stripe', 0, 0, '[]', %s)",
            (new_id(), event_id),
        )
    await carried(gateway)
    found = await ended(gateway, replay_id)
    assert figures(found) == {"state": "failed", "matched": 1, "enqueued": 1, "failed": 1}
    assert found["failures"] == {"handler_failed": 1}


async def test_copies_of_one_event_are_sent_once(gateway: Gateway) -> None:
    (body,) = await payments(gateway, 1)
    await gateway.post(body)
    await gateway.post(body)
    await carried(gateway)
    found = await replayed(gateway, source="stripe")
    assert figures(found) == {"state": "done", "matched": 1, "enqueued": 1, "unchanged": 1}
    assert figures(await replayed(gateway, status="duplicate"))["matched"] == 1


async def test_what_was_refused_under_a_wrong_secret_is_recovered_once_the_secret_is_right(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        bodies = await refused(gateway, 5)
        found = await replayed(gateway, status="rejected")
        assert figures(found) == {"state": "failed", "matched": 5, "failed": 5}
        assert found["failures"] == {"signature_wrong": 5}
    async with start_gateway(STRIPE_WEBHOOK_SECRET=f"{WRONG},{SECRET}") as gateway:
        replay_id = await taken_up(gateway, source="stripe", status="rejected")
        going = await carried(gateway)
        assert {replay for _, replay in going} == {UUID(replay_id)}
        found = await ended(gateway, replay_id)
        assert figures(found) == {"state": "done", "matched": 5, "enqueued": 5, "processed": 5}
        assert sorted(bytes(row["data"]) for row in await gateway.rows("outbox") if row["topic"] == "webhooks.stripe") == sorted(
            bodies
        )

        again = await replayed(gateway, source="stripe", status="rejected")
        assert figures(again) == {"state": "done", "matched": 5, "unchanged": 5}
        assert await carried(gateway) == []


async def test_a_recovered_delivery_says_what_it_became_and_keeps_its_trace(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        await refused(gateway, 1)
    async with start_gateway(STRIPE_WEBHOOK_SECRET=WRONG) as gateway:
        _, begun = await post(gateway, "/v1/admin/webhooks/replay", {"status": "rejected"})

        async def both() -> list[dict[str, Any]] | None:
            rows = await gateway.rows("webhook_deliveries")
            return rows if len(rows) == 2 else None

        rejected, accepted = await eventually(both)
        assert (rejected["outcome"], rejected["recovered_as"], rejected["event_id"]) == (
            "rejected",
            accepted["id"],
            accepted["id"],
        )
        assert (accepted["outcome"], accepted["trace_id"]) == ("accepted", rejected["trace_id"])
        shown = await (await gateway.get(f"/v1/admin/webhooks/deliveries/{rejected['id']}")).json()
        assert shown["recoveredAs"] == str(accepted["id"])
        assert shown["journey"]["event"]["state"] == "pending"
        (item,) = (await (await gateway.get(f"/v1/admin/replays/{begun['replayId']}/items")).json())["items"]
        assert (item["deliveryId"], item["ceId"]) == (str(rejected["id"]), str(accepted["id"]))


async def test_a_delivery_that_the_provider_has_sent_again_meanwhile_stays_one_event(start_gateway: StartGateway) -> None:
    """Refused three times and taken the fourth, all with the same event: nothing is left to do."""
    async with start_gateway() as gateway:
        (body,) = await refused(gateway, 1)
        await gateway.post(body, secret=WRONG)
        await gateway.resources.rejections.flush()
        await gateway.post(body)
        await carried(gateway)
    async with start_gateway(STRIPE_WEBHOOK_SECRET=f"{SECRET},{WRONG}") as gateway:
        assert figures(await replayed(gateway, status="rejected")) == {"state": "done", "matched": 2, "unchanged": 2}
        assert await carried(gateway) == []
        assert len(await gateway.rows("dedup")) == 1


async def test_the_clock_of_the_arrival_decides_not_that_of_the_replay(start_gateway: StartGateway) -> None:
    """One came in time, one was ten minutes old when it came; both are replayed two days later."""
    timely, late = stripe.Payment().succeeded(), stripe.Payment().succeeded()
    arrived = datetime.now(UTC) - timedelta(days=1)
    async with start_gateway(STRIPE_WEBHOOK_SECRET=WRONG) as gateway:
        async with database(gateway) as connection:
            for number, (body, age) in enumerate(((timely, 10), (late, 600))):
                signature = stripe.sign(body, WRONG, arrived.timestamp() - age)
                delivery_id = UUID(int=first_id_of(arrived).int + (7 << 76) + (2 << 62) + number)
                await connection.execute(
                    "insert into webhook_deliveries (id, source, outcome, reason, trace_id, headers, body) "
                    "values (%s, 'stripe', 'rejected', 'signature_wrong', %s, %s, %s)",
                    (delivery_id, new_id().hex, Jsonb({"Stripe-Signature": signature}), body),
                )
        replay_id = await taken_up(gateway, status="rejected")
        await carried(gateway)
        found = await ended(gateway, replay_id)
        assert figures(found) == {"state": "failed", "matched": 2, "enqueued": 1, "processed": 1, "failed": 1}
        assert found["failures"] == {"timestamp_too_old": 1}


async def test_a_type_without_a_handler_stays_stored_until_it_has_one(gateway: Gateway) -> None:
    """A mark without effects would keep it from its handler for ever."""
    body = stripe.event(
        "radar.early_fraud_warning.created", {"id": "issfr_1", "object": "radar.early_fraud_warning"}, at=stripe.START
    )
    await gateway.post(body)
    found = await replayed(gateway, status="ignored")
    assert figures(found) == {"state": "done", "matched": 1, "unchanged": 1}
    assert await carried(gateway) == []
    async with database(gateway) as connection:  # as if it had been stored by a release that did not handle payments yet
        await connection.execute("update webhook_deliveries set type = 'payment_intent.succeeded'")
    replay_id = await taken_up(gateway, status="ignored")
    assert len(await carried(gateway)) == 1
    assert figures(await ended(gateway, replay_id))["processed"] == 1
    assert [row["outcome"] for row in await gateway.rows("webhook_deliveries")] == ["accepted"]


async def test_a_thin_event_goes_out_once_there_is_a_key_and_is_ignored_no_more(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        await gateway.post(THIN)
        found = await replayed(gateway, status="ignored")
        assert figures(found) == {"state": "done", "matched": 1, "unchanged": 1}
    async with start_gateway(STRIPE_API_KEY="rk_test_1") as gateway:
        replay_id = await taken_up(gateway, status="ignored")
        assert len(await carried(gateway)) == 1
        assert figures(await ended(gateway, replay_id)) == {"state": "done", "matched": 1, "enqueued": 1, "processed": 1}
        assert [(row["outcome"], row["reason"]) for row in await gateway.rows("webhook_deliveries")] == [("accepted", None)]


async def test_an_event_whose_marks_are_past_retention_is_refused_not_sent(gateway: Gateway) -> None:
    await payments(gateway, 1)
    await carried(gateway)
    async with database(gateway) as connection:
        await connection.execute(f"drop table consumed_{datetime.now(UTC):%Y%m%d}")
    found = await replayed(gateway, source="stripe")
    assert figures(found) == {"state": "failed", "matched": 1, "failed": 1}
    assert found["failures"] == {"event_outside_retention": 1}
    assert await carried(gateway, handled=False) == []


async def test_partners_are_recovered_by_signature_but_never_by_a_token_that_nobody_kept(start_gateway: StartGateway) -> None:
    async def send(gateway: Gateway, body: bytes, **headers: str) -> None:
        sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with gateway.client.post(f"{gateway.public}/v1/webhooks/partner/leads", data=body, headers=sent) as answer:
            assert answer.status == 401

    async with start_gateway(PARTNER_ACME_SECRET="old") as gateway:
        await send(gateway, lead("1"), X_Partner_Signature=sign(lead("1"), "acme-secret", time.time()), Idempotency_Key="k")
        other = lead("2")
        await send(gateway, other, X_Partner_Signature=sign(other, "acme-secret", time.time()), Idempotency_Key="k")
        await send(gateway, lead("3"), Authorization="Bearer acme-token")
    async with start_gateway(**PARTNER) as gateway:
        replay_id = await taken_up(gateway, source="partner")
        await carried(gateway)
        found = await ended(gateway, replay_id)
        assert figures(found) == {"state": "failed", "matched": 3, "enqueued": 1, "processed": 1, "failed": 2}
        assert found["failures"] == {"idempotency_key_reused": 1, "token_wrong": 1}


async def test_a_dry_run_tells_what_would_happen_and_changes_nothing(start_gateway: StartGateway) -> None:
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
        accepted |= {"livemode": False}
        assert found["groups"] == [
            accepted,
            {**accepted, "outcome": "rejected", "type": None, "livemode": None, "count": 2, "marked": 0},
        ]
        assert [await gateway.rows(table) for table in tables] == before


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


async def test_what_makes_no_sense_is_refused(gateway: Gateway) -> None:
    answers = [await post(gateway, "/v1/admin/webhooks/replay", body) for body, _ in SENSELESS]
    assert [(status, problem["reason"]) for status, problem in answers] == [(422, reason) for _, reason in SENSELESS]
    assert await gateway.rows("webhook_replays") == []


async def test_more_than_can_be_meant_is_refused_unless_a_limit_says_so(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.webhook_replay.jobs.MATCHED_MAX", 2)
    await payments(gateway, 3)
    for dry_run in (True, False):
        answered, problem = await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "dryRun": dry_run})
        assert (answered, problem["reason"]) == (422, "replay_too_large")
    assert await gateway.rows("webhook_replays") == []
    assert (await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "limit": 2}))[1]["matched"] == 2


async def test_a_replay_is_an_admin_s_and_stands_in_the_audit_log(gateway: Gateway) -> None:
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


async def test_two_gateways_share_one_replay_without_sending_anything_twice(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway, start_gateway():
        await payments(gateway, 120)
        await carried(gateway)
        found = await replayed(gateway, source="stripe")
        assert figures(found) == {"state": "done", "matched": 120, "enqueued": 120, "unchanged": 120}
        assert len(await carried(gateway)) == 120


async def test_a_value_that_postgres_refuses_fails_alone(start_gateway: StartGateway) -> None:
    async with start_gateway() as gateway:
        await refused(gateway, 2)
        await gateway.post(stripe.event("a\0b", {"id": "pi_1", "object": "payment_intent"}, at=stripe.START), secret=WRONG)
        await refused(gateway, 1)
    async with start_gateway(STRIPE_WEBHOOK_SECRET=WRONG) as gateway:
        replay_id = await taken_up(gateway, status="rejected")
        await carried(gateway)
        found = await ended(gateway, replay_id)
        assert figures(found) == {"state": "failed", "matched": 4, "enqueued": 3, "processed": 3, "failed": 1}
        assert found["failures"] == {"event_unstorable": 1}


async def test_what_waits_to_be_sent_again_says_nothing_about_how_late_the_relay_is(gateway: Gateway) -> None:
    await payments(gateway, 1)
    await carried(gateway)
    await replayed(gateway, source="stripe")
    with psycopg.connect(gateway._database_url) as connection:
        assert relay_store.depth(connection) == relay_store.Depth(pending=1, oldest=None, parked=0)


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


async def test_the_command_line_asks_follows_and_calls_off_in_the_name_of_who_types(gateway: Gateway) -> None:
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


async def test_the_command_line_fails_where_something_failed_and_says_in_one_line_what_it_does_not_understand(
    gateway: Gateway,
) -> None:
    await refused(gateway, 1)
    status, found, error = await command(gateway, "replay", "webhooks", "--status", "rejected", "--json")
    assert (status, json.loads(found)["failures"]) == (1, {"signature_wrong": 1})
    assert error == "tallyhook: some failed: see runbooks/replay-webhooks.md\n"
    for words, said in {
        (): "filter_missing: ",
        ("--status", "lost"): "--status is one of accepted, duplicate, ignored, rejected",
        ("--source", "stripe", "--rate", "0"): "--rate is more than 0 and at most 1000",
        ("--from", "yesterday"): "'yesterday' is neither a time",
    }.items():
        status, _, error = await command(gateway, "replay", "webhooks", *words)
        assert (status, error.count("\n")) == (1, 1)
        assert error.startswith(f"tallyhook: {said}")


async def command(gateway: Gateway, *words: str) -> tuple[int, str, str]:
    done = await tallyhook_beside({**os.environ, "DATABASE_URL": gateway._database_url}, *words)
    return done.returncode, done.stdout, done.stderr
