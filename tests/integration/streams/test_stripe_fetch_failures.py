"""A failed fetch of an object from Stripe's API is retried, affects no other object, and is set aside in the end."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from operations.dead_letters import store as dead_letters
from tests.integration.streams.fetching import LIMITS, NOW, World, an_invoice, invoice_paid, thin, world_of
from tests.simulators import stripe
from tests.simulators.stripe_api import KEY, Scripted, StripeApi
from tests.simulators.stripe_objects import invoice_object
from tests.waiting import LIMIT, eventually


class Ahead(datetime):
    """The clock of a machine that is two years ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + timedelta(days=730)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Scripted(500, b'{"error": {"message": "oh"}}'), "stripe_failed"),
        (Scripted(503, b"<html>"), "stripe_failed"),
        (Scripted(404, b"<html>no such page</html>"), "stripe_failed"),
        (Scripted(302, b"", {"Location": "http://127.0.0.1:1/"}), "stripe_failed"),
        (Scripted(400, b'{"error": {"message": "no"}}'), "stripe_refuses"),
        (Scripted(403, b'{"error": {"message": "no"}}'), "stripe_key_refused"),
        (Scripted(200, b'{"id": "in_'), "answer_malformed"),
        (Scripted(200, b"[" * 100_000), "answer_malformed"),
        (Scripted(200, b"null"), "answer_malformed"),
        (Scripted(200, b'{"id": "in_other", "object": "invoice"}'), "answer_mismatched"),
        (Scripted(200, b'{"id": "in_1", "object": "customer"}'), "answer_mismatched"),
        (Scripted(200, b'{"id": "in_1", "object": "invoice"}', {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}), "answer_too_early"),
        (Scripted(200, b" " * (4 * 1024 * 1024 + 1)), "answer_too_large"),
        (Scripted(after=1.5), "stripe_slow"),
    ],
    ids=str,
)
async def test_a_failed_fetch_is_retried_later_and_set_aside_after_the_last_attempt(
    api: StripeApi, database_url: str, answer: Scripted, reason: str
) -> None:
    async with world_of(api, database_url, patience=1 if answer.after else LIMIT) as world:
        await _fail_three_times(world, answer, reason)


async def _fail_three_times(world: World, answer: Scripted, reason: str) -> None:
    [event] = await world.arrive(invoice_paid("in_1"))
    for attempt in (1, 2):
        world.api.scripted = [answer]
        [began] = await world.rows("select clock_timestamp() as at")
        assert await world.fetch() == 1
        assert await world.fetches() == [(None, reason, attempt)]
        assert [row["next_attempt_at"] >= began["at"] for row in await world.rows("select * from stripe_fetches")] == [True]
        assert await world.rows("select * from dead_letters") == []
        await world.make_due()
    world.api.scripted = [answer]
    await world.fetch()
    assert await world.fetches() == [("given_up", reason, 3)]
    [letter] = await world.rows("select * from dead_letters")
    assert (letter["consumer"], letter["reason"], letter["event_id"], letter["topic"]) == (
        "payments", reason, event.id, "webhooks.stripe",
    )  # fmt: skip
    assert bytes(letter["value"]) == event.data
    an = an_invoice(world.api)
    world.api.keep({**invoice_object(an, NOW), "id": "in_1", "status": "paid"})
    assert await dead_letters.retry(world.connection, letter["id"], "me") == "event"
    await world.handle()
    await world.make_due()
    await world.fetch()
    assert await world.fetches() == [("fetched", None, 1)]
    assert [row["status"] for row in await world.rows("select status from invoices")] == ["paid"]


async def test_an_event_of_the_far_future_is_fetched_within_the_hour_and_set_aside_in_the_end(world: World) -> None:
    world.api.keep({**invoice_object(an_invoice(world.api), NOW), "id": "in_1", "status": "paid"})
    await world.arrive(invoice_paid("in_1", at=4_102_444_800))  # the year 2100
    [row] = await world.rows("select next_attempt_at <= now() + interval '1 hour' as soon from stripe_fetches")
    assert row["soon"]
    for _ in range(3):
        await world.make_due()
        assert await world.fetch() == 1
    assert await world.fetches() == [("given_up", "answer_too_early", 3)]
    assert [row["reason"] for row in await world.rows("select reason from dead_letters")] == ["answer_too_early"]


async def test_a_fetch_that_was_postponed_while_the_clock_was_ahead_is_due_again(world: World) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id))
    await world.connection.execute("update stripe_fetches set next_attempt_at = now() + interval '1 year'")
    await world.fetcher._report_backlog()
    [row] = await world.rows("select next_attempt_at <= now() + interval '2 minutes' as soon from stripe_fetches")
    assert row["soon"]
    await world.make_due()
    await world.fetch()
    assert await world.fetches() == [("fetched", None, 1)]


async def test_a_worker_whose_clock_is_ahead_forgets_no_fetch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id))
    await world.fetch()
    for module in ("outbox.clock", "streams.payments.fetching.fetcher"):
        monkeypatch.setattr(f"{module}.datetime", Ahead, raising=False)
    await world.fetcher._report_backlog()
    assert await world.fetches() == [("fetched", None, 1)]


async def test_no_connection_is_tried_again(api: StripeApi, database_url: str) -> None:
    patient = LIMITS._replace(base=timedelta(seconds=10))
    async with world_of(api, database_url, patient, base="http://127.0.0.1:1") as world:
        await world.arrive(invoice_paid("in_1"))
        await world.fetch()
        assert await world.fetches() == [(None, "stripe_unreachable", 1)]
        await world.connection.execute("update stripe_fetches set next_attempt_at = now()")
        assert await world.fetch() == 0, "while the API is away nothing else is asked"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Scripted(429, b'{"error": {"message": "slow"}}', {"Retry-After": "7"}), "stripe_called_too_often"),
        (Scripted(401, b'{"error": {"message": "who"}}', {"Retry-After": "7"}), "stripe_key_refused"),
    ],
)
async def test_a_failure_of_the_api_uses_no_attempt_of_an_object_and_all_wait(
    world: World, answer: Scripted, reason: str
) -> None:
    await world.arrive(*(invoice_paid(f"in_{n}") for n in range(5)))
    world.api.scripted = [answer] * 5
    await world.fetch()
    assert {(outcome, attempts) for outcome, _, attempts in await world.fetches()} == {(None, 0)}
    assert reason in {why for _, why, _ in await world.fetches()}
    rows = await world.rows(
        "select next_attempt_at > now() + interval '6 s' as later from stripe_fetches where reason = %s", reason
    )
    assert all(row["later"] for row in rows)
    calls = len(world.api.calls)
    await world.connection.execute("update stripe_fetches set next_attempt_at = now()")
    assert await world.fetch() == 0
    assert len(world.api.calls) == calls
    for n in range(5):
        an = stripe.Invoice(id=f"in_{n}")
        world.api.keep(invoice_object(an, NOW))
    world.api.scripted = []
    await world.make_due()
    await world.fetch()
    assert await world.fetches() == [("fetched", None, 1)] * 5


async def test_a_key_of_the_other_mode_is_reported_at_once_and_nothing_is_requested(world: World) -> None:
    await world.arrive(invoice_paid("in_1", livemode=True))
    await world.fetch()
    assert world.api.calls == []
    assert await world.fetches() == [("given_up", "api_key_of_other_mode", 1)]
    assert len(await world.rows("select * from dead_letters where reason = 'api_key_of_other_mode'")) == 1


LIVE_KEY: Final = "rk_live_of_the_simulator"


async def fetched_in_live_mode(api: StripeApi, database_url: str, *bodies: bytes) -> list[tuple[str | None, str | None, int]]:
    api.keys.add(LIVE_KEY)
    async with world_of(api, database_url, key=LIVE_KEY) as world:
        await world.arrive(*bodies)
        await world.fetch()
        return await world.fetches()


@pytest.mark.parametrize(
    ("kind", "related"),
    [
        ("v1.payment_intent.succeeded", {"id": "pi_1", "type": "payment_intent"}),
        ("v1.charge.refunded", {"id": "ch_1", "type": "charge"}),
        ("v1.customer.subscription.deleted", {"id": "sub_1", "type": "subscription"}),
        ("v1.invoice.paid", {"id": "in_1", "type": "invoice"}),
    ],
)
async def test_an_object_that_cannot_be_deleted_but_is_not_found_is_tried_again(
    api: StripeApi, database_url: str, kind: str, related: dict[str, str]
) -> None:
    """To Stripe's API an object of another account does not exist: the key may be wrong, and the event must not be lost."""
    found = await fetched_in_live_mode(api, database_url, thin(kind, related, livemode=True))
    assert found == [(None, "object_not_found", 1)]


async def test_a_draft_that_is_not_found_is_gone_unless_the_invoice_was_paid(api: StripeApi, database_url: str) -> None:
    draft, paid = {"id": "in_draft", "type": "invoice"}, {"id": "in_paid", "type": "invoice"}
    found = await fetched_in_live_mode(
        api,
        database_url,
        thin("v1.invoice.updated", draft, livemode=True),
        thin("v1.invoice.paid", paid, livemode=True),
        thin("v1.invoice.updated", paid, livemode=True, at=NOW + 1),
    )
    assert found == [("gone", "object_gone", 1), (None, "object_not_found", 1), (None, "object_not_found", 1)]


@pytest.mark.parametrize(("livemode", "key"), [(True, LIVE_KEY), (False, KEY)])
async def test_an_object_of_an_endpoint_that_is_not_found_may_be_of_another_account(
    api: StripeApi, database_url: str, livemode: bool, key: str
) -> None:
    api.keys.add(LIVE_KEY)
    async with world_of(api, database_url, key=key) as world:
        updated = thin("v1.invoice.updated", {"id": "in_1", "type": "invoice"}, livemode=livemode)
        [event] = await world.arrive(updated, endpoint="eu")
        for _ in range(LIMITS.attempts):
            await world.fetch()
            await world.make_due()
        assert await world.fetches() == [("given_up", "object_not_found", LIMITS.attempts)]
        [letter] = await world.rows("select event_id, reason from dead_letters")
        assert letter == {"event_id": event.id, "reason": "object_not_found"}
        api.keep({"object": "invoice", "id": "in_2", "deleted": True})
        await world.arrive(thin("v1.invoice.updated", {"id": "in_2", "type": "invoice"}, livemode=livemode), endpoint="eu")
        await world.fetch()
        assert (await world.fetches())[1:] == [("gone", "object_gone", 1)], "the API states that it is deleted"


@pytest.mark.parametrize("livemode", [True, False])
async def test_a_deletion_states_itself_that_its_object_is_gone(api: StripeApi, database_url: str, *, livemode: bool) -> None:
    api.keys.add(LIVE_KEY)
    async with world_of(api, database_url, key=LIVE_KEY if livemode else KEY) as world:
        named = {"id": "in_1", "type": "invoice"}
        bodies = [thin(f"v1.invoice.{kind}", named, livemode=livemode) for kind in ("updated", "deleted")]
        await world.arrive(*bodies, endpoint="eu")
        await world.fetch()
        assert await world.fetches() == [("gone", "object_gone", 1), ("fetched", None, 1)]
        assert await world.rows("select event_id from dead_letters") == []


@pytest.mark.parametrize("stated", [True, False], ids=["answered as deleted", "not found"])
async def test_a_draft_whose_deletion_is_a_thin_event_is_void(world: World, *, stated: bool) -> None:
    draft = an_invoice(world.api, status="draft", amount_paid=0)
    named = {"id": draft.id, "type": "invoice"}
    await world.arrive(thin("v1.invoice.created", named))
    await world.fetch()
    assert [row["status"] for row in await world.rows("select status from invoices")] == ["draft"]
    world.api._objects.pop(f"/v1/invoices/{draft.id}")
    if stated:
        world.api.keep({"object": "invoice", "id": draft.id, "deleted": True})
    [deletion] = await world.arrive(thin("v1.invoice.deleted", named, context="acct_7"))
    await world.fetch()
    [row] = await world.rows("select status, amount_due from invoices")
    assert (row["status"], row["amount_due"]) == ("void", draft.amount)
    assert (await world.fetches())[-1] == ("fetched", None, 1)
    *_, answer = await world.rows("select * from webhook_deliveries order by id")
    assert (answer["type"], answer["headers"]["X-Tallyhook-Cause"]) == ("invoice.deleted", str(deletion.id))
    [event] = await world.rows("select account, livemode from outbox where id = %s", answer["id"])
    assert (event["account"], event["livemode"]) == ("acct_7", False)


async def test_one_object_that_fails_affects_no_other_one(world: World) -> None:
    invoice = an_invoice(world.api)
    odd = stripe.Invoice(id="in_odd\u0000")
    await world.arrive(invoice_paid("in_odd"), invoice_paid(invoice.id), invoice_paid("in_gone"))
    world.api._objects["/v1/invoices/in_odd"] = {**invoice_object(odd, NOW), "id": "in_odd", "status": 7}
    await world.fetch()
    assert {outcome for outcome, _, _ in await world.fetches()} == {None, "fetched", "gone"}


async def test_a_worker_that_dies_between_the_answer_and_its_commit_loses_and_doubles_nothing(
    api: StripeApi, database_url: str
) -> None:
    quick = LIMITS._replace(claim=timedelta(milliseconds=300))
    async with world_of(api, database_url, quick) as first, world_of(api, database_url, quick) as second:
        invoice = an_invoice(api)
        await first.arrive(invoice_paid(invoice.id))
        answer = threading.Event()
        api.scripted = [Scripted(200, json.dumps({**invoice_object(invoice, NOW), "status": "open"}).encode(), held=answer)]
        slow = asyncio.ensure_future(first.fetcher.run_once())

        async def claim_is_over() -> bool | None:
            return (await second.rows("select attempts from stripe_fetches where next_attempt_at <= now()")) == [
                {"attempts": 1}
            ] or None

        await eventually(claim_is_over)
        assert await second.fetch() == 1
        answer.set()
        await slow
        await second.handle()
        assert [row["status"] for row in await second.rows("select status from invoices")] == ["paid"]
        assert await second.fetches() == [("fetched", None, 2)]
        assert len(await second.rows("select * from webhook_deliveries")) == 2


CHILD: Final = """
import asyncio, sys
from datetime import timedelta
from runtime.database import make_pool
from runtime.settings import Secret
from streams.payments.fetching.api import opened_api
from streams.payments.fetching.fetcher import Fetcher, Limits

async def main(url, base, key):
    limits = Limits(rate=100.0, attempts=3, claim=timedelta(milliseconds=300))
    async with make_pool(url, size=2, name="child") as pool, opened_api(base, Secret(key), timedelta(seconds=60)) as api:
        await Fetcher(pool, api, limits, consumer="payments").fetching().run()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("stored", [False, True], ids=["before its answer is stored", "after it is stored"])
async def test_a_worker_that_is_killed_has_lost_and_doubled_nothing(world: World, database_url: str, stored: bool) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id))
    world.api.scripted = [] if stored else [Scripted(after=3.0)]
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, database_url, world.api.url, KEY)

    async def reached() -> bool | None:
        [(outcome, _, _)] = await world.fetches()
        return (outcome == "fetched" if stored else bool(world.api.calls)) or None

    await eventually(reached)
    child.kill()
    await child.wait()
    assert len(await world.rows("select * from webhook_deliveries")) == 1 + stored
    await world.make_due()
    assert await world.fetch() == (0 if stored else 1)
    assert await world.fetches() == [("fetched", None, 1 if stored else 2)]
    assert len(await world.rows("select * from webhook_deliveries")) == 2
    assert [row["status"] for row in await world.rows("select status from invoices")] == ["paid"]
