"""The object that a thin event names is fetched from Stripe's API and folded, once."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from runtime.service import running
from streams.payments.fetching.fetcher import Fetcher
from streams.payments.handler import PaymentsHandler
from streams.payments.role import PAYMENTS
from streams.settings import PaymentSettings
from tests.integration.streams.fetching import LIMITS, NOW, World, an_invoice, invoice_paid, thin
from tests.kafka import settings_of
from tests.simulators import stripe
from tests.simulators.stripe_api import KEY, Scripted
from tests.simulators.stripe_objects import charge_object, dispute_object, payment_intent_object
from tests.waiting import eventually

if TYPE_CHECKING:
    from runtime.kafka import Cluster


async def test_its_object_is_fetched_and_folded_as_a_separate_delivery(world: World) -> None:
    invoice = an_invoice(world.api)
    [event] = await world.arrive(invoice_paid(invoice.id))
    assert await world.rows("select * from invoices") == []
    assert await world.fetch() == 1
    [row] = await world.rows("select * from invoices")
    assert (row["id"], row["status"], row["amount_due"], row["amount_paid"]) == (invoice.id, "paid", 2990, 2990)
    delivery, answer = await world.rows("select * from webhook_deliveries order by id")
    assert (delivery["outcome"], delivery["type"], answer["outcome"], answer["type"]) == (
        "accepted", "v1.invoice.paid", "accepted", "invoice.updated",
    )  # fmt: skip
    assert answer["headers"] == {"X-Tallyhook-Origin": "fetch", "X-Tallyhook-Cause": str(event.id)}
    assert (answer["secret_id"], answer["trace_id"]) == (None, delivery["trace_id"])
    assert await world.fetches() == [("fetched", None, 1)]
    body = json.loads((await world.rows("select data from outbox where id = %s", answer["id"]))[0]["data"])
    assert (body["object"], body["livemode"], body["data"]["object"]["id"]) == ("event", False, invoice.id)
    assert NOW < body["created"] <= time.time()


async def test_the_object_is_kept_byte_for_byte(world: World) -> None:
    invoice = an_invoice(world.api, amount_paid=2990, metadata={"x": "\u00e9 1.10"}, odd=[1.10, 2**70])
    await world.arrive(invoice_paid(invoice.id))
    await world.fetch()
    [row] = await world.rows("select data from outbox where type = 'com.stripe.invoice.updated'")
    assert json.dumps(world.api._objects[f"/v1/invoices/{invoice.id}"], indent=2).encode() in bytes(row["data"])


async def test_the_same_object_is_not_fetched_twice_for_one_event(world: World) -> None:
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


async def test_an_event_read_again_for_another_table_fetches_nothing(world: World) -> None:
    events = await world.arrive(invoice_paid("in_1"))
    await world.connection.execute("delete from stripe_fetches")
    async with world.connection.transaction():
        await PaymentsHandler().handle(world.connection, events)
        await PaymentsHandler(fetches=True, decides=True).restore(world.connection, events)
    assert await world.fetches() == []


async def test_one_question_answers_all_events_of_an_object(world: World) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(*(invoice_paid(invoice.id) for _ in range(5)))
    assert await world.fetch() == 5
    assert len(world.api.calls) == 1
    assert await world.fetches() == [("fetched", None, 1)] * 5
    assert len(await world.rows("select * from history where aggregate_type = 'invoice'")) == 1


async def test_a_failed_attempt_is_emitted_though_the_invoice_does_not_show_it(world: World) -> None:
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
async def test_every_status_of_a_payment_intent_becomes_its_state(world: World, status: str, error: Any, becomes: str) -> None:
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
    world.api.scripted = [Scripted(200, charge, {"Date": date})]
    await world.fetch()
    assert await world.rows("select amount_refunded from payments") == [{"amount_refunded": 70}]


@pytest.mark.parametrize(("moves", "funds"), [([-1999], "withdrawn"), ([-1999, 1999], "reinstated")])
async def test_a_withdrawal_that_is_fetched_late_does_not_take_back_what_came_back(
    world: World, moves: list[int], funds: str
) -> None:
    payment = stripe.Payment()
    dispute = {
        **dispute_object(payment, NOW),
        "status": "won",
        "balance_transactions": [{"object": "balance_transaction", "type": "adjustment", "amount": amount} for amount in moves],
    }
    world.api.keep(dispute)
    related = {"id": dispute["id"], "type": "dispute"}
    if len(moves) > 1:
        await world.arrive(thin("v1.charge.dispute.funds_reinstated", related))
        await world.fetch()
    await world.arrive(thin("v1.charge.dispute.funds_withdrawn", related))
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    world.api.scripted = [Scripted(200, json.dumps(dispute).encode(), {"Date": date})]
    await world.fetch()
    assert {outcome for outcome, _, _ in await world.fetches()} == {"fetched"}
    assert await world.rows("select status, funds from disputes") == [{"status": "won", "funds": funds}]


async def test_an_object_without_a_fact_yet_is_settled_without_an_event(world: World) -> None:
    world.api.keep({"object": "checkout.session", "id": "cs_1", "status": "open", "created": NOW})
    await world.arrive(thin("v1.checkout.session.expired", {"id": "cs_1", "type": "checkout.session"}))
    await world.fetch()
    assert await world.fetches() == [("empty", "object_says_nothing", 1)]


async def test_a_deleted_object_is_ignored_with_that_reason(world: World) -> None:
    await world.arrive(invoice_paid("in_gone"))
    world.api.keep({"object": "invoice", "id": "in_deleted", "deleted": True})
    await world.arrive(invoice_paid("in_deleted"))
    await world.fetch()
    assert await world.fetches() == [("gone", "object_gone", 1)] * 2
    rows = await world.rows("select outcome, reason from webhook_deliveries")
    assert [(row["outcome"], row["reason"]) for row in rows] == [("ignored", "object_gone")] * 2


@pytest.mark.parametrize(
    ("changes", "header"),
    [({"context": "acct_7"}, ("Stripe-Context", "acct_7")), ({"context": "org_1/acct_7"}, ("Stripe-Context", "org_1/acct_7"))],
)
async def test_the_object_of_a_connected_account_is_requested_there(
    world: World, changes: dict[str, Any], header: tuple[str, str]
) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id, **changes))
    await world.fetch()
    [(_, headers)] = world.api.calls
    assert headers[header[0]] == header[1]
    [row] = await world.rows("select data from outbox where type = 'com.stripe.invoice.updated'")
    assert json.loads(row["data"])["account"] == "acct_7"


async def test_an_event_whose_object_is_not_folded_fetches_nothing(world: World) -> None:
    await world.arrive(
        thin("v1.invoice.paid", None),
        thin("v1.invoice.paid", {"type": "invoice"}),
        thin("v1.invoice.paid", {"id": "mtr_1", "type": "billing.meter"}),
    )
    assert await world.fetches() == []


async def test_an_address_is_made_of_the_id_and_cannot_lead_elsewhere(world: World) -> None:
    await world.arrive(invoice_paid("../customers/cus_1?x=#"))
    await world.fetch()
    [(path, _)] = world.api.calls
    assert path == "/v1/invoices/../customers/cus_1?x=#"  # decoded: it was sent as one segment
    assert await world.fetches() == [("gone", "object_gone", 1)]


async def test_settled_fetches_are_deleted_once_their_event_cannot_be_read_again(world: World) -> None:
    invoice = an_invoice(world.api)
    await world.arrive(invoice_paid(invoice.id), invoice_paid("in_later", at=int(time.time()) + 100))
    await world.fetch()
    await world.fetcher._report_backlog()
    assert len(await world.fetches()) == 2
    old = Fetcher(world.fetcher._pool, None, LIMITS._replace(kept=timedelta(seconds=-5)), consumer="payments")
    await old._report_backlog()
    assert await world.fetches() == [(None, None, 0)]
    assert await old.run_once() == 0, "without a key nobody asks"


async def test_the_key_comes_and_goes_while_the_worker_runs(world: World, kafka: Cluster) -> None:
    given = {
        "DATABASE_URL": world.database_url,
        **settings_of(kafka),
        "STRIPE_API_BASE": world.api.url,
        "STRIPE_API_RATE": "100",
    }
    without, with_one = PaymentSettings.load(given), PaymentSettings.load(given | {"STRIPE_API_KEY": KEY})
    async with PAYMENTS.opened(without, world.fetcher._pool) as worker, running(*worker.services):
        handler = worker.handler
        assert isinstance(handler, PaymentsHandler)
        await world.arrive(invoice_paid(an_invoice(world.api).id), handler=handler)
        assert (handler.decides, await world.fetches()) == (False, [(None, None, 0)])
        without.renew(with_one)

        async def fetched() -> bool | None:
            return await world.fetches() == [("fetched", None, 1)] or None

        await eventually(fetched)
        assert handler.decides
        without.renew(without)
        assert not handler.decides
