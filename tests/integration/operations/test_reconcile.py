"""Stripe's objects and ours are compared one by one, over its real SDK, and differences are repaired through the intake."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.operations.reconciling import AT, World, arrived, differences, handled, run, worker
from tests.rows import rows
from tests.simulators import stripe
from tests.simulators.stripe_objects import charge_object, invoice_object, payment_intent_object

if TYPE_CHECKING:
    import psycopg

    from tests.simulators.stripe_api import StripeApi


@pytest.fixture
def world() -> World:
    return World()


async def test_two_equal_sides_are_reported_as_equal(connection: psycopg.AsyncConnection, api: StripeApi, world: World) -> None:
    api.keep(*world.theirs)
    await handled(connection, *world.ours)
    report = await run(connection, api)
    assert (differences(report), report.equal) == ([], True)
    assert report.compared == {
        "payment_intent": 1, "charge": 1, "refund": 1, "dispute": 1, "invoice": 1, "subscription": 1,
    }  # fmt: skip


async def test_an_object_without_events_is_missing_here_and_arrives_through_the_intake(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, database_url: str
) -> None:
    api.keep(*world.theirs)
    report = await run(connection, api)
    assert {what for _, _, what in differences(report)} == {"missing_here"}
    assert (report.remaining, report.equal, await rows(connection, "select * from outbox")) == (6, False, [])
    with worker(database_url):
        report = await run(connection, api, apply=True, operator="me")
        assert (report.handed_in, report.mended, report.remaining, report.equal) == (6, 6, 0, True)
        again = await run(connection, api, apply=True)
        assert (differences(again), again.handed_in) == ([], 0)
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
async def test_every_difference_is_reported_field_by_field_and_repaired(  # noqa: PLR0917  # fixtures and one case
    connection: psycopg.AsyncConnection,
    api: StripeApi,
    world: World,
    database_url: str,
    name: str,
    change: dict[str, Any],
    difference: tuple[str, dict[str, Any]],
) -> None:
    await handled(connection, *world.ours)
    getattr(world, name).update(change)
    api.keep(*world.theirs)
    report = await run(connection, api)
    [found] = report.differences
    assert (found.what, found.kind, found.fields) == ("differs", *difference)
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert (report.mended, report.remaining, report.equal) == (1, 0, True)


async def test_the_amount_of_a_declined_attempt_is_not_that_of_its_payment(
    connection: psycopg.AsyncConnection, api: StripeApi, database_url: str
) -> None:
    """The cart became larger after the attempt, and the payer left before the next one."""
    payment = stripe.Payment(amount=1000)
    declined = {**charge_object(payment, AT), "status": "failed", "paid": False, "captured": False, "amount_captured": 0}
    intent = payment_intent_object(payment, AT) | {"amount": 2000, "status": "requires_action", "latest_charge": declined}
    api.keep(intent, declined)
    bodies = [payment.failed(AT), stripe.event("charge.failed", declined, at=AT)]
    await handled(connection, *bodies, payment.requires_action(AT + 60, amount=2000))
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert (differences(report), report.equal) == ([], True)
    assert await rows(connection, "select status, amount from payments") == [{"status": "pending", "amount": 2000}]


async def test_a_difference_that_cannot_be_repaired_is_handed_in_and_remains(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, database_url: str
) -> None:
    """A received payment stays received, whatever later events state."""
    await handled(connection, *world.ours)
    world.intent |= {"status": "canceled", "amount_received": 0, "latest_charge": None}
    api.keep(*world.theirs)
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert (report.handed_in, report.mended, report.remaining, report.equal) == (1, 0, 1, False)


async def test_an_object_that_stripe_does_not_have_is_reported_and_remains(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, database_url: str
) -> None:
    api.keep(*world.theirs)
    await handled(connection, *world.ours)
    api.drop("invoice", world.invoice.id)
    api.drop("charge", world.bare.charge)
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert differences(report) == [("charge", world.bare.charge, "missing_there"), ("invoice", world.invoice.id, "missing_there")]
    assert (report.handed_in, report.remaining, report.equal) == (0, 2, False)


async def test_a_draft_that_stripe_has_deleted_is_void_and_one_that_is_void_is_the_same(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, database_url: str
) -> None:
    drafts = [{**invoice_object(stripe.Invoice(), AT), "status": "draft"} for _ in range(2)]
    api.keep(*world.theirs)
    await handled(connection, *world.ours)
    await arrived(connection, *(stripe.event("invoice.created", draft, at=AT) for draft in drafts))
    await arrived(connection, stripe.event("invoice.deleted", drafts[0], at=AT + 1))
    report = await run(connection, api)
    assert differences(report) == [("invoice", drafts[1]["id"], "missing_there")]
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert (report.handed_in, report.mended, report.equal) == (1, 1, True)
    states = await rows(connection, "select status, amount_due from invoices where status <> 'paid'")
    assert states == [{"status": "void", "amount_due": draft["amount_due"]} for draft in drafts]
    assert (await run(connection, api)).equal


@pytest.mark.parametrize(
    ("first", "second", "kept"), [("eu", "eu", True), (None, "eu", True), ("eu", None, True), (None, None, False)]
)
async def test_a_draft_that_may_be_of_another_account_is_reported_and_stays_a_draft(  # noqa: PLR0917  # fixtures and one case
    connection: psycopg.AsyncConnection, api: StripeApi, database_url: str, first: str | None, second: str | None, kept: bool
) -> None:
    """To Stripe's API an object of another account does not exist, and endpoints may be of several accounts."""
    draft = {**invoice_object(stripe.Invoice(), AT), "status": "draft"}
    await arrived(connection, stripe.event("invoice.created", draft, at=AT), endpoint=first)
    await arrived(connection, stripe.event("invoice.updated", draft, at=AT + 1), endpoint=second)
    if not kept:  # the retention has deleted an event
        await connection.execute("delete from outbox where id = (select max(id::text)::uuid from outbox)")
    with worker(database_url):
        report = await run(connection, api, apply=True)
    assert differences(report) == [("invoice", draft["id"], "missing_there")]
    assert (report.handed_in, report.remaining, report.equal) == (0, 1, False)
    assert await rows(connection, "select status from invoices") == [{"status": "draft"}]


@pytest.mark.parametrize(("livemode", "account"), [(True, None), (False, "acct_7")])
async def test_objects_of_another_mode_or_account_are_not_compared(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World, livemode: bool, account: str | None
) -> None:
    await handled(connection, *world.ours)
    for table in ("payments", "refunds", "disputes", "invoices", "subscriptions"):
        await connection.execute(f"update {table} set livemode = %s, account = %s", (livemode, account))
    report = await run(connection, api)
    assert (differences(report), report.equal) == ([], True)
    if account:
        missing = await run(connection, api, account=account)
        assert {what for _, _, what in differences(missing)} == {"missing_there"}


async def test_an_open_invoice_whose_attempt_failed_is_the_same_on_both_sides(
    connection: psycopg.AsyncConnection, api: StripeApi
) -> None:
    invoice = stripe.Invoice()
    await handled(connection, invoice.payment_failed(AT))
    api.keep({**invoice_object(invoice, AT), "status": "open", "attempted": True, "attempt_count": 1})
    assert (await run(connection, api)).equal


async def test_without_a_worker_it_reports_that_it_only_handed_in(
    connection: psycopg.AsyncConnection, api: StripeApi, world: World
) -> None:
    api.keep(world.paid)
    report = await run(connection, api, apply=True, wait=timedelta(milliseconds=50))
    assert (report.handed_in, report.mended, report.waited_for, report.equal) == (1, 0, 1, False)
