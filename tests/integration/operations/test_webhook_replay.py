"""Replays of webhooks by the real gateway on a real Postgres: what is sent again, what is recovered, and what changes nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from outbox import relay_store
from runtime.ids import first_id_of, new_id
from tests.gateways import SECRET
from tests.integration.gateway.test_webhooks import THIN
from tests.integration.operations.webhook_replaying import (
    WRONG,
    carried,
    database,
    ended,
    figures,
    payments,
    post,
    progress,
    refused,
    replayed,
    taken_up,
)
from tests.simulators import stripe
from tests.simulators.partner import lead, sign
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

PARTNER: Final = {"PARTNER_ACME_SECRET": "acme-secret", "PARTNER_ACME_TOKEN": "acme-token"}


async def test_a_handled_event_is_sent_again_under_the_same_id_and_is_counted_as_unchanged(gateway: Gateway) -> None:
    await payments(gateway, 3)
    first = [event_id for event_id, _ in await carried(gateway)]
    found = await replayed(gateway, source="stripe", reason="subscriber lost its copy")
    assert figures(found) == {"state": "done", "matched": 3, "enqueued": 3, "unchanged": 3}
    assert await carried(gateway) == [(event_id, UUID(found["replayId"])) for event_id in first]
    assert (found["reason"], found["filters"]) == ("subscriber lost its copy", {"source": "stripe"})


async def test_an_event_that_was_never_handled_counts_as_processed_once_its_mark_exists(gateway: Gateway) -> None:
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
    await set_aside(gateway, event_id)
    await carried(gateway)
    found = await ended(gateway, replay_id)
    assert figures(found) == {"state": "failed", "matched": 1, "enqueued": 1, "failed": 1}
    assert found["failures"] == {"handler_failed": 1}


async def test_an_event_that_was_a_dead_letter_before_the_replay_is_a_failure_until_the_letter_is_retried(
    gateway: Gateway,
) -> None:
    await payments(gateway, 3)
    ((event_id, _), *_) = await carried(gateway)
    await set_aside(gateway, event_id)
    _, preview = await post(gateway, "/v1/admin/webhooks/replay", {"source": "stripe", "dryRun": True})
    assert [preview[name] for name in ("matched", "unchanged", "unprocessed", "deadLettered")] == [3, 2, 0, 1]
    assert [(group["marked"], group["deadLettered"]) for group in preview["groups"]] == [(2, 1)]
    found = await replayed(gateway, source="stripe")
    assert figures(found) == {"state": "failed", "matched": 3, "enqueued": 3, "unchanged": 2, "failed": 1}
    assert found["failures"] == {"handler_failed": 1}
    async with database(gateway) as connection:
        await connection.execute("update dead_letters set status = 'retried', settled_at = now()")
    assert figures(await replayed(gateway, source="stripe"))["unchanged"] == 3


async def set_aside(gateway: Gateway, event_id: UUID) -> None:
    """Make the event a dead letter of the payments worker, which has a mark of it too."""
    async with database(gateway) as connection:
        await connection.execute(
            'insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers, event_id) '
            "values (%s, 'payments', 'handler_failed', '', 'webhooks.stripe', 0, 0, '[]', %s)",
            (new_id(), event_id),
        )


async def test_copies_of_one_event_are_sent_once(gateway: Gateway) -> None:
    (body,) = await payments(gateway, 1)
    await gateway.post(body)
    await gateway.post(body)
    await carried(gateway)
    found = await replayed(gateway, source="stripe")
    assert figures(found) == {"state": "done", "matched": 1, "enqueued": 1, "unchanged": 1}
    assert figures(await replayed(gateway, status="duplicate"))["matched"] == 1


async def test_deliveries_refused_under_a_wrong_secret_are_recovered_once_the_secret_is_right(
    start_gateway: StartGateway,
) -> None:
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


async def test_a_recovered_delivery_shows_its_outcome_and_keeps_its_trace(start_gateway: StartGateway) -> None:
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
    """Refused three times and accepted the fourth time, always the same event: there is nothing left to replay."""
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
    """One arrived in time, one was ten minutes old on arrival; both are replayed two days later."""
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


async def test_partners_are_recovered_by_signature_but_never_by_a_token_which_is_not_kept(start_gateway: StartGateway) -> None:
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


async def test_rows_that_wait_to_be_sent_again_do_not_count_as_delay_of_the_relay(gateway: Gateway) -> None:
    await payments(gateway, 1)
    await carried(gateway)
    await replayed(gateway, source="stripe")
    with psycopg.connect(gateway._database_url) as connection:
        assert relay_store.depth(connection) == relay_store.Depth(pending=1, oldest=None, parked=0)
