"""Replays on a running system: deliveries refused by a wrong secret are recovered despite a kill; a day is sent again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from tests.command import tallyhook_beside
from tests.faults.accounting import Load, assert_all_accounted, make_load
from tests.integration.operations.webhook_replaying import figures
from tests.kafka import Stored, read_topic
from tests.sender import Provider, post_razorpay, post_stripe
from tests.simulators import razorpay, stripe
from tests.system import System, running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ops.stack import Stack
    from tests.lasting import Lasting

WRONG: Final = "whsec_of_another_endpoint"
RECOVERED: Final = 150
MEANWHILE: Final = 100
KILLS: Final = 2
KEPT: Final = {
    "payments": "id",
    "refunds": "id",
    "disputes": "id",
    "subscriptions": "id",
    "invoices": "id",
    "reconciliations": "reference",
    "history": "aggregate_type, aggregate_id, event_id",
    "leads": "id",
    "lead_attempts": "lead_id, attempt",
    "consumed": "event_id, consumer",
    "dedup": "source, provider_event_id",
    "dead_letters": "id",
    "outbox": "id",
    "webhook_deliveries": "id",
}


@pytest.fixture(scope="module")
def stack(lasting: Lasting) -> Stack:
    return lasting.emptied()


@pytest.fixture(scope="module")
def refused(stack: Stack) -> Load:
    """Stripe events that a gateway with the wrong secret has refused and kept; that gateway has ended."""
    load = make_load(RECOVERED, seed=5)
    with running_system(stack, workers=(), STRIPE_WEBHOOK_SECRET=WRONG, REJECTED_KEPT_PER_HOUR="100000") as system:
        assert set(asyncio.run(_refuse(system, load.bodies))) == {401}
    return replace(load, rejected=len(load.bodies))


@pytest.fixture(scope="module")
def system(stack: Stack, refused: Load) -> Iterator[System]:
    """The same database, now with the right secret."""
    assert refused.rejected
    settings = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "2s"}
    with running_system(stack, workers=("payments",), **settings) as running:
        yield running


async def _refuse(system: System, bodies: Sequence[bytes]) -> list[int]:
    """Send a few at a time: the queue for the log of rejections is bounded."""
    answers: list[int] = []
    async with aiohttp.ClientSession() as http:
        for start in range(0, len(bodies), 150):
            batch = [post_stripe(http, system.public, body) for body in bodies[start : start + 150]]
            answers += [answer.status for answer in await asyncio.gather(*batch)]
            _wait_kept(system, len(answers))
    return answers


def _wait_kept(system: System, number: int) -> None:
    wait_until(lambda: system.count("webhook_deliveries where outcome = 'rejected'") == number)


async def tallyhook(system: System, *words: str) -> Any:
    """Run the command and return its JSON."""
    done = await tallyhook_beside(system.environment, *words, "--json")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def wait_taken_up(system: System, number: int) -> None:
    wait_until(lambda: system.count("webhook_replay_items where state <> 'waiting'") >= number)


@pytest.mark.timeout(280)
async def test_deliveries_refused_by_a_wrong_secret_are_recovered_exactly_once_despite_a_kill(
    system: System, refused: Load
) -> None:
    """The same provider keeps delivering meanwhile."""
    more, matched = make_load(MEANWHILE, seed=6), refused.rejected
    filters = ("--source", "stripe", "--status", "rejected", "--from", "1h")
    preview = await tallyhook(system, "replay", "webhooks", *filters, "--dry-run")
    assert preview["rejected"] == {"matched": matched, "checked": matched, "recoverable": matched, "stillRefused": {}}

    provider = Provider(system.public)
    delivery = asyncio.create_task(provider.deliver(more.bodies))
    words = ("replay", "webhooks", *filters, "--rate", "100", "--reason", "wrong secret")
    replay = asyncio.create_task(tallyhook(system, *words))
    for number in range(1, KILLS + 1):
        await asyncio.to_thread(wait_taken_up, system, number * matched // (KILLS + 1))
        killed = system.kill("gateway")
        await asyncio.to_thread(system.wait_back, "gateway", killed)
    found = await replay
    await delivery
    assert figures(found) == {
        "state": "done",
        "matched": matched,
        "enqueued": refused.events,
        "processed": refused.events,
        "unchanged": matched - refused.events,
    }
    await asyncio.to_thread(assert_all_accounted, system, refused + more)
    _assert_recorded(system, found["replayId"])

    again = await tallyhook(system, "replay", "webhooks", *filters, "--rate", "1000")
    assert figures(again) == {"state": "done", "matched": matched, "unchanged": matched}


def _assert_recorded(system: System, replay_id: str) -> None:
    """The audit log has the caller; exactly the recovered events are on Kafka with the replay's id."""
    [(client,)] = system.query("select client from audit_log where path = %s", f"tallyhook replay webhooks {replay_id}")
    assert system.query("select requested_by, reason from webhook_replays where id = %s", replay_id) == [(client, "wrong secret")]
    recovered = {
        str(found) for (found,) in system.query("select distinct event_id from webhook_deliveries where recovered_as is not null")
    }
    found = read_topic(system.cluster, "webhooks.stripe", until=lambda found: _with_replay(found, replay_id) >= recovered)
    assert _with_replay(found, replay_id) == recovered
    assert not system.count("webhook_deliveries where outcome = 'rejected' and recovered_as is null")


def _with_replay(found: Sequence[Stored], replay_id: str) -> set[str]:
    return {record.headers["ce_id"] for record in found if record.headers.get("ce_replayid") == replay_id}


@pytest.mark.timeout(280)
async def test_a_day_of_traffic_sent_again_twice_changes_nothing(system: System) -> None:
    of_stripe, of_razorpay = stripe_day(20), razorpay_day(20)
    async with aiohttp.ClientSession() as http:
        for body in of_stripe:
            assert (await post_stripe(http, system.public, body)).status == 200
        for body in of_razorpay:
            assert (await post_razorpay(http, system.public, body)).status == 200
    await asyncio.to_thread(settled, system)
    before = snapshot(system)
    assert all(
        before[table]
        for table in ("payments", "refunds", "disputes", "subscriptions", "invoices", "reconciliations", "history", "outbox")
    )
    for _ in range(2):
        found = await tallyhook(system, "replay", "webhooks", "--from", "1d", "--rate", "1000")
        ignored = system.count("webhook_deliveries where outcome = 'ignored'")
        rejected = system.count("webhook_deliveries where outcome = 'rejected'")
        events = system.count("dedup")
        assert ignored
        assert figures(found) == {
            "state": "done",
            "matched": events + rejected,
            "enqueued": events - ignored,
            "unchanged": events + rejected,
        }
        await asyncio.to_thread(settled, system)
        assert snapshot(system) == before


def settled(system: System) -> None:
    """Assert that no row is pending, and that every record is handled."""
    handled = "webhook_deliveries d where outcome = 'accepted' and not exists (select from consumed c where c.event_id = d.id)"
    wait_until(lambda: system.count("outbox_pending") + system.count(handled) == 0)


def snapshot(system: System) -> dict[str, list[tuple[Any, ...]]]:
    return {table: system.query(f"select * from {table} order by {order}") for table, order in KEPT.items()}


def stripe_day(number: int) -> list[bytes]:
    """Payments that succeed, fail, are captured, given up and refunded; invoices, subscriptions, and types without a handler."""
    bodies = []
    for _ in range(number):
        paid, failed, held, ended = (stripe.Payment() for _ in range(4))
        bodies += [paid.created(), paid.processing(), paid.succeeded(), paid.refunded(500), paid.refunded(paid.amount)]
        refund = paid.refund("refund.failed", 500, created=stripe.START - 1)
        bodies += [refund, paid.disputed("created"), paid.disputed("closed", status="won")]
        bodies += [failed.created(), failed.failed(), failed.requires_action(), held.capturable(), ended.canceled()]
        running, invoice, void = stripe.Subscription(), stripe.Invoice(), stripe.Invoice()
        bodies += [running.created(), running.updated(), running.paused(), running.resumed(), running.deleted()]
        bodies += [invoice.created(), invoice.finalized(), invoice.payment_failed(), invoice.paid(), void.voided()]
        bodies.append(stripe.event("customer.created", {"id": stripe.random_id("cus"), "object": "customer"}, at=stripe.START))
    return bodies


def razorpay_day(number: int) -> list[bytes]:
    bodies = []
    for _ in range(number):
        paid, failed, running = razorpay.Payment(), razorpay.Payment(), razorpay.Subscription()
        bodies += [paid.authorized(), paid.captured(), paid.refunded(paid.amount), failed.failed()]
        bodies += [running.authenticated(), running.activated(), running.halted(), running.cancelled()]
    return bodies
