"""The rows of the payments worker: state, history, versions and events, for any order of events and any batch."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from streams.errors import Poison
from tests.simulators.stripe import START, Invoice, Payment, Subscription, event
from tests.simulators.stripe_objects import Shape

if TYPE_CHECKING:
    from tests.integration.streams.conftest import Worker


def types(rows: list[dict[str, object]]) -> list[object]:
    return [row["type"] for row in rows]


async def test_a_paid_payment_is_kept_with_its_history_and_emitted_once(worker: Worker) -> None:
    payment = Payment(metadata={"order_id": "o-1", "user_id": "u-1"})
    created, succeeded = await worker.handle(
        payment.created(START, event_id="evt_1"), payment.succeeded(START + 2, event_id="evt_2")
    )
    (row,) = await worker.rows("select * from payments")
    assert (row["id"], row["status"], row["amount"], row["version"]) == (payment.id, "succeeded", 1999, 2)
    assert (row["reference"], row["user_id"], row["customer_id"]) == ("o-1", "u-1", payment.customer)
    assert row["updated_at"] == datetime.fromtimestamp(START + 2, tz=UTC)
    history = await worker.rows("select * from history order by occurred_at")
    assert [(line["provider_event_id"], line["event_id"]) for line in history] == [("evt_1", created.id), ("evt_2", succeeded.id)]
    succeeded_event, message = await worker.outbox()
    assert (succeeded_event["type"], succeeded_event["aggregate_id"], succeeded_event["aggregate_version"]) == (
        "billing.payment.succeeded",
        payment.id,
        2,
    )
    assert succeeded_event["causation_id"] == succeeded.id
    assert succeeded_event["data"]["version"] == 2
    assert (message["type"], message["data"]["to"], message["data"]["template"]) == (
        "notification.send",
        "u-1",
        "payment-succeeded",
    )


async def test_events_of_one_aggregate_in_one_batch_are_single_steps(worker: Worker) -> None:
    payment = Payment(receipt_email="payer@example.com")
    await worker.handle(
        payment.created(START),
        payment.failed(START + 1),
        payment.processing(START + 2),
        payment.succeeded(START + 3),
        payment.refunded(500, START + 4),
        payment.refunded(1999, START + 5),
    )
    emitted = await worker.outbox("billing.")
    assert [(row["type"], row["aggregate_version"], row["data"]["status"]) for row in emitted] == [
        ("billing.payment.failed", 2, "failed"),
        ("billing.payment.succeeded", 4, "succeeded"),
        ("billing.payment.refunded", 5, "partially_refunded"),
        ("billing.payment.refunded", 6, "refunded"),
    ]
    templates = [row["data"]["template"] for row in await worker.outbox("notification.")]
    assert templates == ["payment-failed", "payment-succeeded", "payment-refunded", "payment-refunded"]


async def test_a_refund_that_comes_first_emits_both_and_the_success_emits_nothing_more(worker: Worker) -> None:
    payment = Payment()
    await worker.handle(payment.refunded(500, START + 9))
    await worker.handle(payment.succeeded(START))
    assert types(await worker.outbox()) == ["billing.payment.succeeded", "billing.payment.refunded"]
    (row,) = await worker.rows("select * from payments")
    assert (row["status"], row["amount_refunded"], row["version"]) == ("partially_refunded", 500, 2)


async def test_an_event_that_the_history_knows_moves_nothing(worker: Worker) -> None:
    payment = Payment()
    events = await worker.handle(payment.succeeded(), payment.refunded(1, START + 1))
    before = await worker.projected(), await worker.outbox()
    await worker.handle_events(events)
    assert (await worker.projected(), await worker.outbox()) == before


async def test_a_subscription_and_its_invoice_are_emitted_from_first_to_last(worker: Worker) -> None:
    subscription = Subscription()
    invoice = Invoice(subscription=subscription.id)
    await worker.handle(
        subscription.created(START),
        invoice.created(START),
        invoice.payment_failed(START + 1),
        invoice.paid(START + 2),
        subscription.updated(START + 2),
        subscription.deleted(START + 3),
    )
    types = [row["type"] for row in await worker.outbox("billing.subscription")]
    assert types == ["billing.subscription.created", "billing.subscription.updated", "billing.subscription.canceled"]
    types = [row["type"] for row in await worker.outbox("billing.invoice")]
    assert types == ["billing.invoice.created", "billing.invoice.failed", "billing.invoice.paid"]
    (command,) = await worker.outbox("notification.")
    assert (command["data"]["to"], command["data"]["template"]) == ("payer@example.com", "invoice-payment-failed")
    (row,) = await worker.rows("select * from invoices")
    assert (row["status"], row["subscription_id"], row["amount_paid"]) == ("paid", subscription.id, 2990)


async def test_a_link_makes_the_payment_known_but_emits_nothing(worker: Worker) -> None:
    invoice = Invoice()
    await worker.handle(invoice.paid_by("pi_1"))
    (payment,) = await worker.rows("select * from payments")
    (row,) = await worker.rows("select * from invoices")
    assert (payment["status"], payment["amount"], payment["invoice_id"]) == ("pending", 2990, invoice.id)
    assert (row["status"], row["payment_id"]) == ("open", "pi_1")
    assert await worker.outbox() == []


async def test_an_event_without_a_handler_changes_nothing(worker: Worker) -> None:
    await worker.handle(event("customer.created", {"id": "cus_1", "object": "customer"}, at=START))
    assert not any((await worker.projected()).values())


async def test_the_culprit_of_a_batch_is_named_and_nothing_is_written(worker: Worker) -> None:
    with pytest.raises(Poison) as poison:
        await worker.handle(Payment().succeeded(), Payment(id="pi_bad").succeeded(amount="12.00"))
    assert (poison.value.reason, poison.value.event_id is not None) == ("event_malformed", True)
    assert not any((await worker.projected()).values())


async def test_a_text_that_postgres_cannot_store_is_left_out_and_loses_nothing_else(worker: Worker) -> None:
    await worker.handle(Payment(metadata={"reference": r"back\u0000slash"}).succeeded(description="\0"))
    payment = Payment(metadata={"order_id": "a\0b", "user_id": "u-1"}, receipt_email="a\0@example.com")
    await worker.handle(payment.succeeded())
    (row,) = await worker.rows("select * from payments where id = %s", payment.id)
    assert (row["status"], row["reference"], row["user_id"]) == ("succeeded", payment.id, "u-1")
    with pytest.raises(Poison) as poison:
        await worker.handle(Payment(id="pi_\0").succeeded())
    assert poison.value.reason == "text_unstorable"


async def test_an_id_of_the_merchants_that_no_index_holds_is_left_out(worker: Worker) -> None:
    long = random.Random(1).randbytes(1500).hex()
    session = {
        "id": "cs_1", "object": "checkout.session", "payment_intent": "pi_1", "payment_status": "paid", "amount_total": 1999,
        "currency": "usd", "client_reference_id": long, "customer_details": {"email": f"{long}@gmail.com"},
    }  # fmt: skip
    intent = Payment(id="pi_2", metadata={"user_id": long, "reference": long}, receipt_email=f"{long}@gmail.com")
    details = {"customer_reference": None, "order_reference": f"in_{long}"}
    await worker.handle(event("checkout.session.completed", session, at=START), intent.succeeded(payment_details=details))
    rows = await worker.rows("select status, amount, reference, user_id, invoice_id from payments order by id")
    assert [tuple(row.values()) for row in rows] == [
        ("succeeded", 1999, "pi_1", None, None), ("succeeded", 1999, "pi_2", None, None)
    ]  # fmt: skip
    sent = [row["data"]["to"] for row in await worker.outbox("notification.send")]
    assert sent == [f"{long}@gmail.com"]  # the session proves its payment, which sends its own message


async def test_a_refund_that_fails_takes_the_payment_back_and_notifies_subscribers_and_the_payer(worker: Worker) -> None:
    payment = Payment(metadata={"user_id": "u-1"})
    await worker.handle(payment.succeeded(START), payment.refunded(1999, START + 1))
    await worker.handle(payment.refund("refund.created", 1999, START + 1))
    failed = payment.refund("refund.failed", 1999, START + 2, created=START + 1, failure_reason="lost_or_stolen_card")
    await worker.handle(failed, payment.adjusted(0, START + 3))
    (row,) = await worker.rows("select * from payments")
    assert (row["status"], row["amount_refunded"], row["version"]) == ("succeeded", 0, 5)
    (refund,) = await worker.rows("select * from refunds")
    assert (refund["status"], refund["failure_reason"], refund["payment_id"]) == ("failed", "lost_or_stolen_card", payment.id)
    assert types(await worker.outbox("billing.")) == [
        "billing.payment.succeeded",
        "billing.payment.refunded",
        "billing.refund.created",
        "billing.refund.succeeded",
        "billing.refund.failed",
    ]
    data = (await worker.outbox("billing.refund.failed"))[0]["data"]
    assert (data["paymentStatus"], data["paymentAmountRefunded"], data["userId"]) == ("succeeded", 0, "u-1")
    templates = [row["data"]["template"] for row in await worker.outbox("notification.")]
    assert templates == ["payment-succeeded", "payment-refunded", "payment-refund-failed"]


async def test_a_dispute_is_kept_emitted_and_raises_one_alert(worker: Worker) -> None:
    payment = Payment()
    await worker.handle(payment.succeeded(), payment.disputed("created", START + 1))
    await worker.handle(payment.disputed("funds_withdrawn", START + 1), payment.disputed("updated", START + 1))
    await worker.handle(payment.disputed("closed", START + 9, status="won"))
    await worker.handle(payment.disputed("funds_reinstated", START + 9, status="won"))
    (row,) = await worker.rows("select * from disputes")
    assert (row["status"], row["funds"], row["payment_id"], row["version"]) == ("won", "reinstated", payment.id, 5)
    assert types(await worker.outbox("billing.dispute.")) == [
        "billing.dispute.created",
        "billing.dispute.updated",
        "billing.dispute.closed",
        "billing.dispute.updated",
    ]
    (alert,) = await worker.outbox("alert.")
    assert (alert["data"]["alert"], alert["data"]["subject"]) == ("payment_disputed", row["id"])
    assert [row["status"] for row in await worker.rows("select status from payments")] == ["succeeded"]


async def _wait_for_blocked(worker: Worker, blocked: Worker) -> None:
    """Poll the server until the other connection waits for a lock."""
    pid = blocked.connection.info.backend_pid
    while not (await worker.rows("select pg_blocking_pids(%s) as pids", pid))[0]["pids"]:
        pass


async def test_the_loser_of_a_race_for_a_new_payment_reads_it_again(worker: Worker, other_worker: Worker) -> None:
    payment = Payment()
    async with worker.connection.transaction():
        await worker.handle(payment.created(START))
        second = asyncio.create_task(other_worker.handle(payment.processing(START + 1), payment.succeeded(START + 2)))
        await _wait_for_blocked(worker, other_worker)
    await second
    (row,) = await worker.rows("select * from payments")
    assert (row["status"], row["version"]) == ("succeeded", 3)
    (emitted,) = await worker.outbox("billing.")
    assert emitted["aggregate_version"] == 3


def _lives(count: int) -> list[list[bytes]]:
    """Payments of invoices of subscriptions, linked in both shapes, so that batches meet on many rows."""
    lives = []
    for number in range(count):
        shape = list(Shape)[number % 2]
        subscription = Subscription(shape=shape)
        payment = Payment(metadata={"order_id": f"o-{number // 2}"}, shape=shape)
        invoice = Invoice(subscription=subscription.id, payment=payment.id, shape=shape)
        lives.append(
            [
                subscription.created(START),
                invoice.created(START),
                payment.created(START),
                payment.failed(START + 1),
                invoice.payment_failed(START + 1),
                payment.succeeded(START + 2),
                invoice.paid(START + 2),
                invoice.paid_by(payment.id, START + 2),
                subscription.updated(START + 2),
                payment.refunded(500, START + 3),
                payment.refunded(900, START + 4),
                payment.refund("refund.created", 400, START + 4),
                payment.refund("refund.failed", 400, START + 5, created=START + 4),
                payment.disputed("created", START + 6),
                payment.disputed("closed", START + 7, status="lost"),
            ]
        )
    return lives


async def _work(worker: Worker, bodies: list[bytes], size: int) -> None:
    for start in range(0, len(bodies), size):
        await worker.handle(*bodies[start : start + size])


async def test_two_workers_on_the_same_aggregates_lose_nothing_and_wait_in_no_ring(worker: Worker, other_worker: Worker) -> None:
    bodies = [body for life in _lives(40) for body in life]
    random.Random(7).shuffle(bodies)  # an order, not a secret
    await asyncio.gather(_work(worker, bodies[::2], 23), _work(other_worker, bodies[1::2], 31))
    rows = await worker.rows("select status, version, amount_refunded from payments")
    assert {row["status"] for row in rows} == {"partially_refunded"}
    assert {row["amount_refunded"] for row in rows} == {500}
    assert {row["version"] for row in rows} == {8, 11}  # in the old shape its invoice's three events name it too
    emitted = await worker.outbox("billing.payment.succeeded")
    assert len({row["aggregate_id"] for row in emitted}) == len(emitted) == 40
    kinds = ("payment", "refund", "dispute", "invoice", "subscription")
    for table, kind in ((f"{kind}s", kind) for kind in kinds):
        wrong = await worker.rows(
            f"""select id from {table} t where version <>
                (select count(*) from history where aggregate_type = %s and aggregate_id = t.id)""",
            kind,
        )
        assert wrong == []
    for row in await worker.rows("select array_agg(aggregate_version order by p.id) as versions from outbox_pending p"
                                 " join outbox o on o.id = p.event_id where aggregate_version is not null"
                                 " group by aggregate_type, aggregate_id"):  # fmt: skip
        assert row["versions"] == sorted(row["versions"])


async def test_a_table_rebuilt_in_any_order_equals_the_live_one(worker: Worker) -> None:
    events = await worker.handle(*(body for life in _lives(6) for body in life))
    live = await worker.projected()
    await worker.connection.execute("truncate payments, refunds, disputes, subscriptions, invoices, history, reconciliations")
    for one in reversed(events):
        await worker.handle_events([one])
    assert await worker.projected() == live
