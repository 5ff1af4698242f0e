"""Reads of the admin routes: payments, subscriptions and invoices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest
from psycopg import AsyncConnection

from projections import reads
from projections.expectations import expect
from runtime.tracing import new_trace
from tests.simulators.stripe import START, Invoice, Payment, Subscription
from tests.simulators.stripe_objects import DAY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.streams.conftest import Worker


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[AsyncConnection]:
    async with await AsyncConnection.connect(database_url) as connection:
        yield connection


async def test_a_payment_is_read_with_its_links_its_events_and_its_reconciliation(
    worker: Worker, reader: AsyncConnection
) -> None:
    payment = Payment(id="pi_1", customer="cus_1", amount=2990, currency="eur", metadata={"order_id": "o-1"})
    invoice = Invoice(id="in_1", subscription="sub_1")
    async with worker.connection.transaction():
        await expect(worker.connection, "o-1", 2990, "eur", "u-1", new_trace())
    events = await worker.handle(
        payment.succeeded(START + 1, event_id="evt_2"),
        payment.created(START, event_id="evt_1"),
        invoice.paid_by("pi_1", START + 2, event_id="evt_3"),
        invoice.paid(START + 2),
    )
    found = msgspec.to_builtins(await reads.payment(reader, "pi_1"))
    history_lines = found.pop("events")
    assert found == {
        "providerPaymentId": "pi_1",
        "provider": "stripe",
        "status": "succeeded",
        "amount": 2990,
        "amountRefunded": 0,
        "currency": "eur",
        "reconciliation": "matched",
        "reference": "o-1",
        "expectedAmount": 2990,
        "expectedCurrency": "eur",
        "invoiceId": "in_1",
        "subscriptionId": "sub_1",
        "customerId": "cus_1",
        "userId": "u-1",
        "version": 3,
        "updatedAt": datetime.fromtimestamp(START + 2, tz=UTC).isoformat().replace("+00:00", "Z"),
        "refunds": [],
        "disputes": [],
    }
    assert [line["id"] for line in history_lines] == ["evt_1", "evt_2", "evt_3"]
    assert history_lines[0]["type"] == "payment_intent.created"
    assert history_lines[0]["eventId"] == str(events[1].id)
    assert history_lines[0]["occurredAt"] == datetime.fromtimestamp(START, tz=UTC).isoformat().replace("+00:00", "Z")


async def test_a_payment_under_the_reference_of_another_one_is_unexpected(worker: Worker, reader: AsyncConnection) -> None:
    first, second = (Payment(id=name, metadata={"order_id": "o-1"}) for name in ("pi_1", "pi_2"))
    async with worker.connection.transaction():
        await expect(worker.connection, "o-1", 1999, "usd", None, new_trace())
    await worker.handle(first.succeeded(), second.succeeded())
    found = [await reads.payment(reader, name) for name in ("pi_1", "pi_2")]
    assert [view.reconciliation for view in found if view] == ["matched", "unexpected"]


async def test_a_payment_of_another_amount_is_mismatched(worker: Worker, reader: AsyncConnection) -> None:
    async with worker.connection.transaction():
        await expect(worker.connection, "pi_1", 1, "usd", None, new_trace())
    await worker.handle(Payment(id="pi_1").succeeded())
    view = await reads.payment(reader, "pi_1")
    assert view is not None
    assert view.reconciliation == "mismatched"


async def test_a_subscription_and_an_invoice_are_read(worker: Worker, reader: AsyncConnection) -> None:
    subscription = Subscription(id="sub_1", customer="cus_1")
    await worker.handle(subscription.created(), subscription.updated(START + 1), Invoice(id="in_1", subscription="sub_1").paid())
    found = await reads.subscription(reader, "sub_1")
    assert found is not None
    assert (found.status, found.customer_id, found.version, len(found.events)) == ("active", "cus_1", 2, 2)
    assert found.current_period_end == datetime.fromtimestamp(START + 1 + 30 * DAY, tz=UTC)
    invoice = msgspec.to_builtins(await reads.invoice(reader, "in_1"))
    wanted = {"status": "paid", "amountDue": 2990, "amountPaid": 2990, "subscriptionId": "sub_1", "version": 1}
    assert wanted.items() <= invoice.items()
    assert "paymentId" not in invoice


async def test_a_payment_shows_its_refunds_and_disputes_and_each_is_read_by_itself(
    worker: Worker, reader: AsyncConnection
) -> None:
    payment = Payment(id="pi_1", charge="ch_1")
    await worker.handle(payment.succeeded(), payment.refund("refund.created", 500, START + 1, reason="duplicate"))
    await worker.handle(payment.disputed("created", START + 2), payment.disputed("funds_withdrawn", START + 2))
    view = msgspec.to_builtins(await reads.payment(reader, "pi_1"))
    assert (view["status"], view["amountRefunded"]) == ("partially_refunded", 500)
    refund = {"id": "re_1", "status": "succeeded", "amount": 500, "currency": "usd", "reason": "duplicate"}
    assert view["refunds"] == [refund]
    (disputed,) = view["disputes"]
    assert (disputed["id"], disputed["status"], disputed["funds"]) == ("du_1", "needs_response", "withdrawn")
    read = msgspec.to_builtins(await reads.refund(reader, "re_1"))
    assert {**refund, "provider": "stripe", "paymentId": "pi_1", "version": 1}.items() <= read.items()
    dispute = await reads.dispute(reader, "du_1")
    assert dispute is not None
    assert (dispute.version, len(dispute.events)) == (2, 2)
    assert dispute.respond_by == datetime.fromtimestamp(START + 2 + 7 * DAY, tz=UTC)


async def test_an_object_without_events_is_not_found(reader: AsyncConnection) -> None:
    assert await reads.payment(reader, "pi_1") is None
    assert await reads.refund(reader, "re_1") is None
    assert await reads.dispute(reader, "du_1") is None
    assert await reads.subscription(reader, "sub_1") is None
    assert await reads.invoice(reader, "in_1") is None
