"""What a thin event names is fetched from Stripe's API and folded, once, whatever the API does; so is what no event decides."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from psycopg.rows import dict_row

from gateway.webhooks.sources import Arrival
from gateway.webhooks.sources.stripe import translate
from operations.dead_letters import store as dead_letters
from outbox.append import record
from runtime.database import make_pool
from runtime.ids import new_id
from runtime.settings import Secret
from runtime.tracing import new_trace
from schemas.envelope import Event
from streams.payments.fetching.api import opened_api
from streams.payments.fetching.fetcher import Fetcher, Limits
from streams.payments.fetching.wanted import CONTESTS
from streams.payments.handler import PaymentsHandler
from tests.simulators import stripe
from tests.simulators.stripe_api import KEY, StripeApi, Told, stripe_api
from tests.simulators.stripe_objects import charge_object, invoice_object, payment_intent_object, subscription_object
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

NOW: Final = int(time.time()) - 60
LIMITS: Final = Limits(rate=100.0, attempts=3, base=timedelta(milliseconds=10), poll=timedelta(milliseconds=10))


def thin(kind: str, related: dict[str, Any] | None, *, at: int = NOW, **changes: Any) -> bytes:
    event = {
        "id": stripe.random_id("evt"),
        "object": "v2.core.event",
        "type": kind,
        "livemode": False,
        "created": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
        "related_object": related,
    }
    return json.dumps(event | changes).encode()


def invoice_paid(name: str, **changes: Any) -> bytes:
    return thin("v1.invoice.paid", {"id": name, "type": "invoice", "url": f"/v1/invoices/{name}"}, **changes)


@dataclass(frozen=True)
class World:
    """A worker without Kafka between its two halves: what the log holds and was not handled is handed to the handler."""

    api: StripeApi
    database_url: str
    connection: psycopg.AsyncConnection
    fetcher: Fetcher

    async def arrive(self, *bodies: bytes, handler: PaymentsHandler | None = None) -> list[Event]:
        """Take them in as the gateway does with a key, and handle them."""
        for body in bodies:
            arrival = Arrival(new_id(), new_trace().traceparent, "0" * 8, body, CIMultiDictProxy(CIMultiDict()))
            await record(self.connection, [translate(arrival, asks=True)])
        return await self.handle(handler)

    async def handle(self, handler: PaymentsHandler | None = None) -> list[Event]:
        rows = await self.rows(
            """with gone as (delete from outbox_pending where event_id in (select id from outbox where topic = 'webhooks.stripe')
                 returning id, event_id)
               select o.* from gone join outbox o on o.id = gone.event_id order by gone.id"""
        )
        names = ("id", "topic", "aggregate_id", "source", "type", "dataschema", "occurred_at", "traceparent", "data")
        events = [Event(**{name: row[name] for name in names}) for row in rows]
        async with self.connection.transaction():
            await (handler or PaymentsHandler(fetches=True, decides=True)).handle(self.connection, events)
        return events

    async def fetch(self) -> int:
        """One round of questions, and what came of it handled."""
        asked = await self.fetcher.run_once()
        await self.handle()
        return asked

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.cursor(row_factory=dict_row)
        return await (await cursor.execute(query, values)).fetchall()

    async def standing(self) -> list[tuple[str | None, str | None, int]]:
        rows = await self.rows("select outcome, reason, attempts from stripe_fetches order by event_id, kind, object_id")
        return [(row["outcome"], row["reason"], row["attempts"]) for row in rows]

    async def make_due(self) -> None:
        await self.connection.execute("update stripe_fetches set next_attempt_at = now() where outcome is null")
        self.fetcher._held_until = 0.0


@pytest.fixture
def api() -> Iterator[StripeApi]:
    with stripe_api() as running:
        yield running


@asynccontextmanager
async def world_of(
    api: StripeApi, database_url: str, limits: Limits = LIMITS, *, key: str = KEY, base: str = ""
) -> AsyncIterator[World]:
    pool = make_pool(database_url, size=3, name="test")
    async with (
        pool,
        opened_api(base or api.url, Secret(key), timedelta(seconds=1)) as client,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
    ):
        yield World(api, database_url, connection, Fetcher(pool, client, limits, consumer="payments"))


@pytest.fixture
async def world(api: StripeApi, database_url: str) -> AsyncIterator[World]:
    async with world_of(api, database_url) as made:
        yield made


def an_invoice(api: StripeApi, **changes: Any) -> stripe.Invoice:
    invoice = stripe.Invoice(payment=None, amount=2990)
    api.keep({**invoice_object(invoice, NOW), "status": "paid", "amount_paid": 2990, **changes})
    return invoice


async def test_what_it_names_is_fetched_and_folded_as_a_delivery_of_its_own(world: World) -> None:
    invoice = an_invoice(world.api)
    [event] = await world.arrive(invoice_paid(invoice.id))
    assert await world.rows("select * from invoices") == []
    assert await world.fetch() == 1
    [row] = await world.rows("select * from invoices")
    assert (row["id"], row["status"], row["amount_due"], row["amount_paid"]) == (invoice.id, "paid", 2990, 2990)
    told, answer = await world.rows("select * from webhook_deliveries order by id")
    assert (told["outcome"], told["type"], answer["outcome"], answer["type"]) == (
        "accepted", "v1.invoice.paid", "accepted", "invoice.updated",
    )  # fmt: skip
    assert answer["headers"] == {"X-Tallyhook-Origin": "fetch", "X-Tallyhook-Cause": str(event.id)}
    assert (answer["secret_id"], answer["trace_id"]) == (None, told["trace_id"])
    assert await world.standing() == [("fetched", None, 1)]
    body = json.loads((await world.rows("select data from outbox where id = %s", answer["id"]))[0]["data"])
    assert (body["object"], body["livemode"], body["data"]["object"]["id"]) == ("event", False, invoice.id)
    assert NOW < body["created"] <= time.time()


async def test_the_object_is_kept_byte_for_byte(world: World) -> None:
    invoice = an_invoice(world.api, amount_paid=2990, metadata={"x": "\u00e9 1.10"}, odd=[1.10, 2**70])
    await world.arrive(invoice_paid(invoice.id))
    await world.fetch()
    [row] = await world.rows("select data from outbox where type = 'com.stripe.invoice.updated'")
    assert json.dumps(world.api._objects[f"/v1/invoices/{invoice.id}"], indent=2).encode() in bytes(row["data"])


async def test_nobody_asks_twice_for_the_same_sake(world: World) -> None:
    invoice = an_invoice(world.api)
    events = await world.arrive(invoice_paid(invoice.id))
    await world.fetch()
    before = await world.rows("select * from outbox order by id")
    for handler in (PaymentsHandler(fetches=True, decides=True), PaymentsHandler()):
        async with world.connection.transaction():
            await handler.handle(world.connection, events)  # its marks were lost, and it is read again
            await handler.restore(world.connection, events)
    await world.make_due()
    assert await world.fetch() == 0
    assert len(world.api.calls) == 1
    assert await world.rows("select * from outbox order by id") == before


async def test_what_is_read_again_for_another_table_asks_for_nothing(world: World) -> None:
    events = await world.arrive(invoice_paid("in_1"))
    await world.connection.execute("delete from stripe_fetches")
    async with world.connection.transaction():
        await PaymentsHandler().handle(world.connection, events)
        await PaymentsHandler(fetches=True, decides=True).restore(world.connection, events)
    assert await world.standing() == []


async def test_one_question_answers_all_events_of_an_object(world: World) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(*(invoice_paid(invoice.id) for _ in range(5)))
    assert await world.fetch() == 5
    assert len(world.api.calls) == 1
    assert await world.standing() == [("fetched", None, 1)] * 5
    assert len(await world.rows("select * from history where aggregate_type = 'invoice'")) == 1


async def test_a_failed_attempt_is_told_though_the_invoice_does_not_say_it(world: World) -> None:
    invoice = an_invoice(world.api, status="open", amount_paid=0, attempt_count=1, attempted=True)
    failed = thin("v1.invoice.payment_failed", {"id": invoice.id, "type": "invoice"})
    await world.arrive(failed, thin("v1.invoice.updated", {"id": invoice.id, "type": "invoice"}))
    await world.fetch()
    assert [row["status"] for row in await world.rows("select status from invoices")] == ["payment_failed"]


@pytest.mark.parametrize(
    ("status", "error", "becomes"),
    [
        ("requires_payment_method", None, "pending"),
        ("requires_payment_method", {"code": "card_declined"}, "failed"),
        ("requires_confirmation", None, "pending"),
        ("requires_action", None, "pending"),
        ("processing", None, "processing"),
        ("requires_capture", None, "processing"),
        ("canceled", None, "canceled"),
        ("succeeded", None, "succeeded"),
        ("something_new", None, "pending"),
    ],
)
async def test_every_status_of_a_payment_intent_is_what_it_becomes(world: World, status: str, error: Any, becomes: str) -> None:
    payment = stripe.Payment(amount=1999)
    received = 1999 if status == "succeeded" else 0
    world.api.keep(
        {**payment_intent_object(payment, NOW), "status": status, "last_payment_error": error, "amount_received": received}
    )
    await world.arrive(thin("v1.payment_intent.created", {"id": payment.id, "type": "payment_intent"}))
    await world.fetch()
    assert [row["status"] for row in await world.rows("select status from payments")] == [becomes]


async def test_a_refund_that_is_in_the_total_of_its_charge_counts_once(world: World) -> None:
    """Made in the very second in which the charge is read."""
    payment, second = stripe.Payment(amount=5000), int(time.time())
    date = format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)
    charge = json.dumps({**charge_object(payment, NOW), "amount_refunded": 70}).encode()
    await world.arrive(payment.succeeded(NOW), payment.refund("refund.created", 70, second))
    await world.arrive(thin("v1.charge.refunded", {"id": payment.charge, "type": "charge"}))
    world.api.told = [Told(200, charge, {"Date": date})]
    await world.fetch()
    assert await world.rows("select amount_refunded from payments") == [{"amount_refunded": 70}]


async def test_an_object_that_says_nothing_yet_is_settled_without_an_event(world: World) -> None:
    world.api.keep({"object": "checkout.session", "id": "cs_1", "status": "open", "created": NOW})
    await world.arrive(thin("v1.checkout.session.expired", {"id": "cs_1", "type": "checkout.session"}))
    await world.fetch()
    assert await world.standing() == [("empty", "object_says_nothing", 1)]


async def test_what_is_gone_is_ignored_with_that_reason(world: World) -> None:
    await world.arrive(invoice_paid("in_gone"))
    world.api.keep({"object": "invoice", "id": "in_deleted", "deleted": True})
    await world.arrive(invoice_paid("in_deleted"))
    await world.fetch()
    assert await world.standing() == [("gone", "object_gone", 1)] * 2
    rows = await world.rows("select outcome, reason from webhook_deliveries")
    assert [(row["outcome"], row["reason"]) for row in rows] == [("ignored", "object_gone")] * 2


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (Told(500, b'{"error": {"message": "oh"}}'), "stripe_failed"),
        (Told(503, b"<html>"), "stripe_failed"),
        (Told(404, b"<html>no such page</html>"), "stripe_failed"),
        (Told(302, b"", {"Location": "http://127.0.0.1:1/"}), "stripe_failed"),
        (Told(400, b'{"error": {"message": "no"}}'), "stripe_refuses"),
        (Told(403, b'{"error": {"message": "no"}}'), "stripe_key_refused"),
        (Told(200, b'{"id": "in_'), "answer_malformed"),
        (Told(200, b"[" * 100_000), "answer_malformed"),
        (Told(200, b"null"), "answer_malformed"),
        (Told(200, b'{"id": "in_other", "object": "invoice"}'), "answer_mismatched"),
        (Told(200, b'{"id": "in_1", "object": "customer"}'), "answer_mismatched"),
        (Told(200, b'{"id": "in_1", "object": "invoice"}', {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}), "answer_too_early"),
        (Told(200, b" " * (4 * 1024 * 1024 + 1)), "answer_too_large"),
        (Told(after=1.5), "stripe_slow"),
    ],
    ids=str,
)
async def test_what_fails_is_tried_again_later_and_set_aside_after_the_last_attempt(
    world: World, told: Told, reason: str
) -> None:
    [event] = await world.arrive(invoice_paid("in_1"))
    for attempt in (1, 2):
        world.api.told = [told]
        assert await world.fetch() == 1
        assert await world.standing() == [(None, reason, attempt)]
        [due] = await world.rows("select next_attempt_at > now() - interval '1 s' as later from stripe_fetches")
        assert due["later"]
        assert await world.rows("select * from dead_letters") == []
        await world.make_due()
    world.api.told = [told]
    await world.fetch()
    assert await world.standing() == [("given_up", reason, 3)]
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
    assert await world.standing() == [("fetched", None, 1)]
    assert [row["status"] for row in await world.rows("select status from invoices")] == ["paid"]


async def test_no_connection_is_tried_again(api: StripeApi, database_url: str) -> None:
    patient = LIMITS._replace(base=timedelta(seconds=10))
    async with world_of(api, database_url, patient, base="http://127.0.0.1:1") as world:
        await world.arrive(invoice_paid("in_1"))
        await world.fetch()
        assert await world.standing() == [(None, "stripe_unreachable", 1)]
        await world.connection.execute("update stripe_fetches set next_attempt_at = now()")
        assert await world.fetch() == 0, "while the API is away nothing else is asked"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (Told(429, b'{"error": {"message": "slow"}}', {"Retry-After": "7"}), "stripe_called_too_often"),
        (Told(401, b'{"error": {"message": "who"}}', {"Retry-After": "7"}), "stripe_key_refused"),
    ],
)
async def test_what_is_not_the_objects_fault_costs_it_no_attempt_and_all_wait(world: World, told: Told, reason: str) -> None:
    await world.arrive(*(invoice_paid(f"in_{n}") for n in range(5)))
    world.api.told = [told] * 5
    await world.fetch()
    assert {(outcome, attempts) for outcome, _, attempts in await world.standing()} == {(None, 0)}
    assert reason in {why for _, why, _ in await world.standing()}
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
    world.api.told = []
    await world.make_due()
    await world.fetch()
    assert await world.standing() == [("fetched", None, 1)] * 5


async def test_a_key_of_the_other_mode_is_said_at_once_and_asks_nothing(world: World) -> None:
    await world.arrive(invoice_paid("in_1", livemode=True))
    await world.fetch()
    assert world.api.calls == []
    assert await world.standing() == [("given_up", "api_key_of_other_mode", 1)]
    assert len(await world.rows("select * from dead_letters where reason = 'api_key_of_other_mode'")) == 1


async def test_one_object_that_fails_costs_no_other_one(world: World) -> None:
    invoice = an_invoice(world.api)
    odd = stripe.Invoice(id="in_odd\u0000")
    await world.arrive(invoice_paid("in_odd"), invoice_paid(invoice.id), invoice_paid("in_gone"))
    world.api._objects["/v1/invoices/in_odd"] = {**invoice_object(odd, NOW), "id": "in_odd", "status": 7}
    await world.fetch()
    assert {outcome for outcome, _, _ in await world.standing()} == {None, "fetched", "gone"}


@pytest.mark.parametrize(
    ("changes", "header"),
    [({"context": "acct_7"}, ("Stripe-Context", "acct_7")), ({"context": "org_1/acct_7"}, ("Stripe-Context", "org_1/acct_7"))],
)
async def test_the_object_of_a_connected_account_is_asked_for_there(
    world: World, changes: dict[str, Any], header: tuple[str, str]
) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id, **changes))
    await world.fetch()
    [(_, headers)] = world.api.calls
    assert headers[header[0]] == header[1]
    [row] = await world.rows("select data from outbox where type = 'com.stripe.invoice.updated'")
    assert json.loads(row["data"])["account"] == "acct_7"


async def test_what_names_no_object_that_is_folded_asks_for_nothing(world: World) -> None:
    await world.arrive(
        thin("v1.invoice.paid", None),
        thin("v1.invoice.paid", {"type": "invoice"}),
        thin("v1.invoice.paid", {"id": "mtr_1", "type": "billing.meter"}),
    )
    assert await world.standing() == []


async def test_an_address_is_made_of_the_id_and_leads_nowhere_else(world: World) -> None:
    await world.arrive(invoice_paid("../customers/cus_1?x=#"))
    await world.fetch()
    [(path, _)] = world.api.calls
    assert path == "/v1/invoices/../customers/cus_1?x=#"  # decoded: it was sent as one segment
    assert await world.standing() == [("gone", "object_gone", 1)]


async def test_a_worker_that_dies_between_the_answer_and_its_commit_loses_and_doubles_nothing(
    api: StripeApi, database_url: str
) -> None:
    quick = LIMITS._replace(claim=timedelta(milliseconds=300))
    async with world_of(api, database_url, quick) as first, world_of(api, database_url, quick) as second:
        invoice = an_invoice(api)
        await first.arrive(invoice_paid(invoice.id))
        api.told = [Told(200, json.dumps({**invoice_object(invoice, NOW), "status": "open"}).encode(), after=0.8)]
        slow = asyncio.ensure_future(first.fetcher.run_once())
        await asyncio.sleep(0.5)  # its claim is over, and its answer is not there yet
        assert await second.fetch() == 1
        await slow
        await second.handle()
        assert [row["status"] for row in await second.rows("select status from invoices")] == ["paid"]
        assert await second.standing() == [("fetched", None, 2)]
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
        await Fetcher(pool, api, limits, consumer="payments").asking().run()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("stored", [False, True], ids=["before its answer is stored", "after it is stored"])
async def test_a_worker_that_is_killed_has_lost_and_doubled_nothing(world: World, database_url: str, stored: bool) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id))
    world.api.told = [] if stored else [Told(after=3.0)]
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, database_url, world.api.url, KEY)

    async def reached() -> bool | None:
        [(outcome, _, _)] = await world.standing()
        return (outcome == "fetched" if stored else bool(world.api.calls)) or None

    await eventually(reached)
    child.kill()
    await child.wait()
    assert len(await world.rows("select * from webhook_deliveries")) == 1 + stored
    await world.make_due()
    assert await world.fetch() == (0 if stored else 1)
    assert await world.standing() == [("fetched", None, 1 if stored else 2)]
    assert len(await world.rows("select * from webhook_deliveries")) == 2
    assert [row["status"] for row in await world.rows("select status from invoices")] == ["paid"]


def contested(kind: str, decided_by: str) -> float:
    return CONTESTS.labels("stripe", kind, decided_by)._value.get()


def of_one_second(subscription: stripe.Subscription, *statuses: str, **data: Any) -> list[bytes]:
    made = {**subscription_object(subscription, NOW)}
    return [stripe.event("customer.subscription.updated", {**made, "status": status}, at=NOW, **data) for status in statuses]


@pytest.mark.parametrize("order", [("active", "past_due"), ("past_due", "active")])
async def test_the_provider_decides_what_no_event_of_one_second_does(world: World, order: Sequence[str]) -> None:
    subscription = stripe.Subscription()
    asked = contested("subscription", "provider")
    world.api.keep({**subscription_object(subscription, NOW), "status": "active"})
    await world.arrive(*of_one_second(subscription, *order))
    assert await world.rows("select status from subscriptions") == [{"status": "past_due"}], "the fixed rule, meanwhile"
    assert contested("subscription", "provider") == asked + 1
    assert await world.fetch() == 1
    assert await world.rows("select status from subscriptions") == [{"status": "active"}]
    assert await world.standing() == [("fetched", None, 1)]


async def test_what_an_event_says_was_before_decides_without_a_question(world: World) -> None:
    subscription = stripe.Subscription()
    [first] = of_one_second(subscription, "past_due")
    [second] = of_one_second(subscription, "active", previous_attributes={"status": "past_due"})
    await world.arrive(second, first)
    assert await world.standing() == []
    assert await world.rows("select status from subscriptions") == [{"status": "active"}]


async def test_two_amounts_of_one_invoice_in_one_second_are_asked_about(world: World) -> None:
    invoice = stripe.Invoice(amount=1000)
    world.api.keep({**invoice_object(invoice, NOW), "amount_due": 3000})
    await world.arrive(
        invoice.updated(NOW, amount_due=3000, event_id="evt_1"), invoice.updated(NOW, amount_due=2000, event_id="evt_2")
    )
    assert await world.rows("select amount_due from invoices") == [{"amount_due": 2000}]
    await world.fetch()
    assert await world.rows("select amount_due from invoices") == [{"amount_due": 3000}]


async def test_the_steps_of_a_life_in_one_second_are_no_contest(world: World) -> None:
    payment, invoice, subscription = stripe.Payment(), stripe.Invoice(), stripe.Subscription()
    await world.arrive(
        payment.succeeded(NOW), payment.created(NOW), payment.processing(NOW), payment.failed(NOW), payment.refunded(500, NOW),
        invoice.paid(NOW), invoice.payment_succeeded(NOW), invoice.created(NOW), invoice.finalized(NOW),
        invoice.payment_failed(NOW),
        subscription.deleted(NOW), subscription.created(NOW), subscription.updated(NOW),
    )  # fmt: skip
    assert await world.standing() == []


async def test_without_a_key_the_fixed_rule_decides_and_it_is_counted(world: World) -> None:
    subscription = stripe.Subscription()
    ruled = contested("subscription", "rule")
    await world.arrive(*of_one_second(subscription, "active", "past_due"), handler=PaymentsHandler(fetches=True, decides=False))
    assert contested("subscription", "rule") == ruled + 1
    assert await world.standing() == []


async def test_a_contest_that_cannot_be_decided_is_given_up_without_a_dead_letter(world: World) -> None:
    subscription = stripe.Subscription()
    await world.arrive(*of_one_second(subscription, "active", "past_due"))
    for _ in range(3):
        world.api.told = [Told(500, b'{"error": {}}')]
        await world.fetch()
        await world.make_due()
    assert await world.standing() == [("given_up", "stripe_failed", 3)]
    assert await world.rows("select * from dead_letters") == []


async def test_stripe_is_asked_once_the_second_is_over_by_its_own_clock(world: World) -> None:
    at = int(time.time()) + 5  # our clock is behind
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id, at=at))
    assert await world.fetch() == 0
    await world.make_due()
    await world.fetch()
    assert await world.standing() == [(None, "answer_too_early", 1)]
    later = format_datetime(datetime.fromtimestamp(at + 3, UTC), usegmt=True)
    world.api.told = [Told(200, json.dumps(world.api._objects[f"/v1/invoices/{invoice.id}"]).encode(), {"Date": later})]
    await world.make_due()
    await world.fetch()
    assert await world.standing() == [("fetched", None, 2)]


async def test_what_is_settled_is_forgotten_once_nobody_can_read_its_event_again(world: World) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id), invoice_paid("in_later", at=int(time.time()) + 100))
    await world.fetch()
    await world.fetcher._look()
    assert len(await world.standing()) == 2
    old = Fetcher(world.fetcher._pool, None, LIMITS._replace(kept=timedelta(seconds=-5)), consumer="payments")
    await old._look()
    assert await world.standing() == [(None, None, 0)]
    assert await old.run_once() == 0, "without a key nobody asks"
