"""What Stripe has and what we have are compared object by object, over its real SDK, and mended through the intake."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row

from operations.backfill.stripe_api import StripeApiError
from operations.reconcile.lists import StripeLists
from operations.reconcile.run import Asked, Report, reconcile
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.stripe import DATASCHEMA, SOURCE, TYPE_PREFIX, StripeEvent, aggregate_of
from schemas.topics import Topic
from streams import store as marks
from streams.payments.handler import PaymentsHandler
from tests.command import tallyhook
from tests.simulators import stripe
from tests.simulators.stripe_api import KEY, StripeApi, Told, stripe_api
from tests.simulators.stripe_objects import (
    Shape,
    charge_object,
    dispute_object,
    invoice_object,
    payment_intent_object,
    refund_object,
    subscription_object,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterator

NOW: Final = datetime.now(UTC)
SINCE: Final = NOW - timedelta(hours=2)
AT: Final = int(NOW.timestamp()) - 3600


@pytest.fixture
def api() -> Iterator[StripeApi]:
    with stripe_api() as running:
        yield running


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


async def heard(connection: psycopg.AsyncConnection, *bodies: bytes) -> None:
    """Have the worker handle events, as if they had come."""
    events = []
    for body in bodies:
        told = msgspec.json.decode(body, type=StripeEvent)
        events.append(
            Event(
                id=new_id(), topic=Topic.WEBHOOKS_STRIPE, aggregate_id=aggregate_of(told).id, source=SOURCE,
                type=TYPE_PREFIX + told.type, occurred_at=told.occurred_at,
                dataschema=DATASCHEMA, traceparent=new_trace().traceparent, data=body,
            )
        )  # fmt: skip
    async with connection.transaction():
        await PaymentsHandler().handle(connection, events)


@contextmanager
def worker(database_url: str) -> Iterator[None]:
    """Relay and worker in one: what the intake holds is handled and marked, until the block ends."""
    ended = threading.Event()

    async def work() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
            while not ended.is_set():
                async with connection.transaction():
                    rows = await (
                        await connection.execute(
                            """with gone as (delete from outbox_pending where event_id in (
                                 select id from outbox where topic = 'webhooks.stripe') returning id, event_id)
                               select o.* from gone join outbox o on o.id = gone.event_id order by gone.id"""
                        )
                    ).fetchall()
                    plain = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
                    async with plain, plain.transaction():
                        await marks.mark(plain, "payments", [row["id"] for row in rows])
                        named = [{name: row[name] for name in Event.__struct_fields__ if name in row} for row in rows]
                        await PaymentsHandler().handle(plain, [Event(**each) for each in named])
                await asyncio.sleep(0.02)  # a stand-in for the relay and the worker: it looks again, and no test waits for it

    thread = threading.Thread(target=asyncio.run, args=(work(),))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


async def run(connection: psycopg.AsyncConnection, api: StripeApi, key: str = KEY, **changes: Any) -> Report:
    asked = Asked(**{"since": SINCE, "until": datetime.now(UTC), "wait": timedelta(seconds=10), **changes})
    report = Report(since=asked.since, until=asked.until, apply=asked.apply)
    lists = StripeLists(key, api.url, rate=100, pauses=(0.0, 0.0), retries=0, account=asked.account)
    return await reconcile(connection, lists, asked, report)


def told(report: Report) -> list[tuple[str, str, str]]:
    return sorted((each.kind, each.id, each.what) for each in report.differences)


async def rows(connection: psycopg.AsyncConnection, query: str) -> list[dict[str, Any]]:
    return await (await connection.cursor(row_factory=dict_row).execute(query)).fetchall()


class World:
    """One of everything, the same on both sides."""

    def __init__(self) -> None:
        self.payment = stripe.Payment(amount=4990, currency="eur")
        self.bare = stripe.Payment(amount=100, currency="usd")
        self.invoice = stripe.Invoice(amount=2990)
        self.subscription = stripe.Subscription()
        self.refund = refund_object(self.payment, 990, AT + 5)
        self.charge = {**charge_object(self.payment, AT), "amount_refunded": 990}
        self.intent = {
            **payment_intent_object(self.payment, AT), "status": "succeeded", "amount_received": 4990,
            "latest_charge": self.charge,
        }  # fmt: skip
        self.bare_charge = {**charge_object(self.bare, AT), "payment_intent": None}
        self.paid = {**invoice_object(self.invoice, AT), "status": "paid", "amount_paid": 2990}
        self.active = {**subscription_object(self.subscription, AT), "status": "active"}
        self.dispute = dispute_object(self.payment, AT + 6)

    @property
    def theirs(self) -> list[dict[str, Any]]:
        return [self.intent, self.charge, self.bare_charge, self.refund, self.paid, self.active, self.dispute]

    @property
    def ours(self) -> list[bytes]:
        return [
            self.payment.created(AT),
            self.payment.succeeded(AT + 1),
            stripe.event("charge.succeeded", self.bare_charge, at=AT),
            self.payment.refunded(990, AT + 5),
            stripe.event("refund.created", self.refund, at=AT + 5),
            stripe.event("charge.dispute.created", self.dispute, at=AT + 6),
            stripe.event("invoice.paid", self.paid, at=AT + 2),
            stripe.event("customer.subscription.created", self.active, at=AT),
        ]


@pytest.fixture
def world() -> World:
    return World()


async def test_two_sides_that_are_the_same_are_said_to_be(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    api.keep(*world.theirs)
    await heard(connection, *world.ours)
    report = await run(connection, api)
    assert (told(report), report.equal) == ([], True)
    assert report.compared == {
        "payment_intent": 1, "charge": 1, "refund": 1, "dispute": 1, "invoice": 1, "subscription": 1,
    }  # fmt: skip


async def test_what_never_came_is_missing_here_and_comes_through_the_intake(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, database_url: str
) -> None:
    api.keep(*world.theirs)
    report = await run(connection, api)
    assert {what for _, _, what in told(report)} == {"missing_here"}
    assert (report.remaining, report.equal, await rows(connection, "select * from outbox")) == (6, False, [])
    with worker(database_url):
        report = await run(connection, api, apply=True, operator="me")
        assert (report.handed_in, report.mended, report.remaining, report.equal) == (6, 6, 0, True)
        again = await run(connection, api, apply=True)
        assert (told(again), again.handed_in) == ([], 0)
    [payment] = await rows(connection, f"select * from payments where id = '{world.payment.id}'")
    assert (payment["status"], payment["amount"], payment["amount_refunded"]) == ("partially_refunded", 4990, 990)
    deliveries = await rows(connection, "select outcome, headers, secret_id from webhook_deliveries")
    assert len(deliveries) == 7
    assert all(
        each == {"outcome": "accepted", "headers": {"X-Tallyhook-Origin": "reconcile"}, "secret_id": None} for each in deliveries
    )
    assert len(await rows(connection, "select * from audit_log where path = 'tallyhook reconcile stripe'")) == 2


REFUNDED: Final = {"status": ("partially_refunded", "refunded"), "amount_refunded": (990, 4990)}
PARTLY: Final = {"status": ("succeeded", "partially_refunded"), "amount_refunded": (0, 40)}


@pytest.mark.parametrize(
    ("name", "change", "difference"),
    [
        ("charge", {"amount_refunded": 4990}, ("payment_intent", REFUNDED)),
        ("bare_charge", {"amount_refunded": 40}, ("charge", PARTLY)),
        ("refund", {"status": "failed"}, ("refund", {"status": ("succeeded", "failed")})),
        ("paid", {"currency": "usd"}, ("invoice", {"currency": ("eur", "usd")})),
        ("paid", {"amount_due": 3000}, ("invoice", {"amount_due": (2990, 3000)})),
        ("active", {"status": "past_due"}, ("subscription", {"status": ("active", "past_due")})),
        ("active", {"status": "canceled"}, ("subscription", {"status": ("active", "canceled")})),
        ("dispute", {"status": "won"}, ("dispute", {"status": ("needs_response", "won")})),
    ],
    ids=str,
)
async def test_every_difference_is_said_field_by_field_and_mended(  # noqa: PLR0917  # fixtures and one case
    connection: psycopg.AsyncConnection,
    api: StripeApi,
    world: World,
    database_url: str,
    name: str,
    change: dict[str, Any],
    difference: tuple[str, dict[str, Any]],
) -> None:
    await heard(connection, *world.ours)
    getattr(world, name).update(change)
    api.keep(*world.theirs)
    report = await run(connection, api)
    [found] = report.differences
    assert (found.what, found.kind, found.fields) == ("differs", *difference)
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert (report.mended, report.remaining, report.equal) == (1, 0, True)


async def test_what_cannot_be_mended_is_handed_in_and_remains(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, database_url: str
) -> None:
    """Money that is in stays in, whatever is said later."""
    await heard(connection, *world.ours)
    world.intent |= {"status": "canceled", "amount_received": 0, "latest_charge": None}
    api.keep(*world.theirs)
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert (report.handed_in, report.mended, report.remaining, report.equal) == (1, 0, 1, False)


async def test_what_stripe_does_not_have_is_said_and_remains(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, database_url: str
) -> None:
    api.keep(*world.theirs)
    await heard(connection, *world.ours)
    api.drop("invoice", world.invoice.id)
    api.drop("charge", world.bare.charge)
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert told(report) == [("charge", world.bare.charge, "missing_there"), ("invoice", world.invoice.id, "missing_there")]
    assert (report.handed_in, report.remaining, report.equal) == (0, 2, False)


async def test_a_draft_that_stripe_has_deleted_is_void_and_one_that_is_void_is_the_same(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, database_url: str
) -> None:
    drafts = [{**invoice_object(stripe.Invoice(), AT), "status": "draft"} for _ in range(2)]
    api.keep(*world.theirs)
    await heard(connection, *world.ours, *(stripe.event("invoice.created", draft, at=AT) for draft in drafts))
    await heard(connection, stripe.event("invoice.deleted", drafts[0], at=AT + 1))
    report = await run(connection, api)
    assert told(report) == [("invoice", drafts[1]["id"], "missing_there")]
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert (report.handed_in, report.mended, report.equal) == (1, 1, True)
    states = await rows(connection, "select status, amount_due from invoices where status <> 'paid'")
    assert states == [{"status": "void", "amount_due": draft["amount_due"]} for draft in drafts]
    assert (await run(connection, api)).equal


@pytest.mark.parametrize(("livemode", "account"), [(True, None), (False, "acct_7")])
async def test_what_is_of_another_mode_or_account_is_not_looked_for(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, livemode: bool, account: str | None
) -> None:
    await heard(connection, *world.ours)
    for table in ("payments", "refunds", "disputes", "invoices", "subscriptions"):
        await connection.execute(f"update {table} set livemode = %s, account = %s", (livemode, account))
    report = await run(connection, api)
    assert (told(report), report.equal) == ([], True)
    if account:
        missing = await run(connection, api, account=account)
        assert {what for _, _, what in told(missing)} == {"missing_there"}


async def test_an_object_of_before_the_period_that_began_for_us_within_it_is_asked_for(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    world.active["created"] = AT - 86_400
    api.keep(*world.theirs)
    await heard(connection, *world.ours)
    report = await run(connection, api)
    assert (told(report), report.compared["subscription"]) == ([], 1)
    assert [path for path, _ in api.calls if path.endswith(world.subscription.id)]


async def test_only_the_period_is_compared(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    for created in (AT, int(SINCE.timestamp()) - 1, int(time.time()) + 60):
        api.keep({**invoice_object(stripe.Invoice(), created), "status": "open"})
    assert (await run(connection, api)).compared["invoice"] == 1


async def test_every_page_is_read(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    api.keep(*(invoice_object(stripe.Invoice(), AT + n) for n in range(250)))
    report = await run(connection, api)
    assert (report.compared["invoice"], report.found) == (250, {"missing_here": 250})
    assert len([path for path, _ in api.calls if path == "/v1/invoices"]) == 3


async def test_an_open_invoice_whose_attempt_failed_is_the_same_on_both_sides(
    connection: psycopg.AsyncConnection, api: StripeApi
) -> None:
    invoice = stripe.Invoice()
    await heard(connection, invoice.payment_failed(AT))
    api.keep({**invoice_object(invoice, AT), "status": "open", "attempted": True, "attempt_count": 1})
    assert (await run(connection, api)).equal


@pytest.mark.parametrize("shape", [Shape.OLD, Shape.NEW])
async def test_both_shapes_of_the_api_are_compared(
    connection: psycopg.AsyncConnection, api: StripeApi, shape: Shape, database_url: str
) -> None:
    subscription, invoice = stripe.Subscription(shape=shape), stripe.Invoice(shape=shape)
    api.keep({**subscription_object(subscription, AT), "status": "active"}, {**invoice_object(invoice, AT), "status": "open"})
    with worker(database_url):
        assert (await run(connection, api, apply=True)).mended == 2
    assert (await run(connection, api)).equal


async def test_a_charge_that_the_list_does_not_put_in_is_asked_for(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    world.intent["latest_charge"] = world.payment.charge
    api.keep(*world.theirs)
    await heard(connection, *world.ours)
    assert (await run(connection, api)).equal
    assert [path for path, _ in api.calls if path == f"/v1/charges/{world.payment.charge}"]


async def test_one_object_that_cannot_be_read_costs_no_other(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    await heard(connection, *world.ours)
    api.keep(*world.theirs, {**invoice_object(stripe.Invoice(id="in_odd"), AT), "amount_due": "much"})
    report = await run(connection, api)
    assert (told(report), report.compared["invoice"], report.equal) == ([("invoice", "in_odd", "unreadable")], 1, False)


async def test_a_kind_that_stripe_does_not_give_is_said_and_costs_no_other(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    await heard(connection, *world.ours)
    api.keep(*world.theirs)
    refused = Told(403, b'{"error": {"type": "invalid_request_error", "message": "no"}}')
    api.told = [refused]
    report = await run(connection, api)
    assert [(each.kind, each.reason) for each in report.uncompared] == [("payment_intent", "stripe_key_refused")]
    assert (told(report), report.compared["invoice"], report.equal) == ([], 1, False)


async def test_a_list_that_cannot_be_narrowed_to_a_time_is_read_whole(
    connection: psycopg.AsyncConnection, api: StripeApi
) -> None:
    api.keep(invoice_object(stripe.Invoice(), AT), invoice_object(stripe.Invoice(), AT - 86_400))
    for told_first in (
        Told(400, b'{"error": {"type": "invalid_request_error", "message": "Unexpected created"}}'),
        Told(500, b"500 Internal Server Error"),
    ):
        api.told, api.calls = [Told(200, b'{"data": []}')] * 4 + [told_first], []
        report = await run(connection, api)
        assert (report.compared["invoice"], report.uncompared) == (1, [])


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (Told(401, b'{"error": {"message": "who"}}'), "stripe_key_refused"),
        (Told(500, b'{"error": {"message": "oh"}}'), "stripe_failed"),
        (Told(429, b'{"error": {"message": "slow"}}'), "stripe_called_too_often"),
        (Told(200, b'{"data": 7}'), "stripe_failed"),
        (Told(200, b"<html>"), "stripe_failed"),
    ],
)
async def test_where_stripe_gives_nothing_at_all_the_reason_is_raised(
    connection: psycopg.AsyncConnection, api: StripeApi, told: Told, reason: str
) -> None:
    api.told = [told] * 100
    with pytest.raises(StripeApiError) as error:
        await run(connection, api)
    assert error.value.reason == reason


async def test_what_passes_is_asked_again(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    api.told = [Told(429, b'{"error": {"message": "slow"}}')] * 2
    assert (await run(connection, api)).equal


async def test_a_connected_account_is_asked_for_by_name(connection: psycopg.AsyncConnection, api: StripeApi) -> None:
    await run(connection, api, account="acct_7")
    assert {headers["Stripe-Account"] for _, headers in api.calls} == {"acct_7"}


async def test_without_a_worker_it_says_that_it_only_handed_in(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    api.keep(world.paid)
    report = await run(connection, api, apply=True, wait=timedelta(milliseconds=50))
    assert (report.handed_in, report.mended, report.waited_for, report.equal) == (1, 0, 1, False)


def reconcile_command(api: StripeApi, database_url: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "DATABASE_URL": database_url, "STRIPE_API_KEY": KEY, "STRIPE_API_BASE": api.url, "STRIPE_API_RATE": "100",
        "USER": "x",
    }  # fmt: skip
    return tallyhook(environment | changes, "reconcile", "stripe", *arguments)


def test_the_command_says_it_in_words_in_data_and_in_its_exit_code(api: StripeApi, database_url: str, world: World) -> None:
    api.keep(world.paid)
    first = reconcile_command(api, database_url, "--from", "2h")
    assert first.returncode == 1, first.stderr
    assert (
        f"invoice {world.invoice.id} missing here: status paid, amount_due 2990, amount_paid 2990, currency eur" in first.stdout
    )
    assert "1 differences remain: --apply mends what Stripe has" in first.stdout
    with worker(database_url):
        second = reconcile_command(api, database_url, "--from", "2h", "--apply", "--json")
    assert second.returncode == 0, second.stderr
    data = json.loads(second.stdout)
    assert (data["handedIn"], data["mended"], data["remaining"], data["equal"]) == (1, 1, 0, True)
    third = reconcile_command(api, database_url, "--from", "2h")
    assert (third.returncode, third.stdout.splitlines()[-1]) == (0, "both sides are the same")


@pytest.mark.parametrize(
    ("arguments", "changes", "says"),
    [
        (["--from", "1h", "--to", "2h"], {}, "--from is not before --to"),
        (["--from", "soon"], {}, "'soon' is neither a time"),
        (["--wait", "long"], {}, "--wait: a duration"),
        ([], {"STRIPE_API_KEY": ""}, "STRIPE_API_KEY is not set"),
        ([], {"STRIPE_MODE": "live"}, "STRIPE_API_KEY is not of the mode that STRIPE_MODE=live wants"),
        ([], {"STRIPE_API_KEY": "rk_wrong_but_secret"}, "stripe_key_refused: Stripe does not know this STRIPE_API_KEY"),
        ([], {"STRIPE_API_BASE": "http://127.0.0.1:1"}, "stripe_unreachable"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    api: StripeApi, database_url: str, arguments: list[str], changes: dict[str, str], says: str
) -> None:
    done = reconcile_command(api, database_url, *arguments, **changes)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert says in done.stderr
    assert "rk_" not in done.stderr + done.stdout
