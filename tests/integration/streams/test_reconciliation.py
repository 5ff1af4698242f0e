"""Expected and paid amounts are compared in one row, whichever comes first, and a mismatch is emitted once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from projections.errors import ProjectionError
from projections.expectations import Outcome, expect
from runtime.tracing import new_trace
from tests.simulators.stripe import START, Payment
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.integration.streams.conftest import Worker


async def expected(worker: Worker, amount: int, user_id: str | None = None, currency: str = "usd") -> Outcome:
    async with worker.connection.transaction():
        return await expect(worker.connection, "o-1", amount, currency, user_id, new_trace())


def a_payment(**changes: object) -> Payment:
    return Payment(**{"metadata": {"order_id": "o-1"}, "amount": 1999, **changes})  # type: ignore[arg-type]


async def mismatches(worker: Worker) -> list[tuple[int, int]]:
    emitted = await worker.outbox("billing.payment.mismatched")
    return [(row["data"]["amount"], row["data"]["expectedAmount"]) for row in emitted]


async def outcome(worker: Worker) -> str:
    (row,) = await worker.rows("select outcome from reconciliations where reference = 'o-1'")
    return str(row["outcome"])


async def test_a_payment_as_expected_matches_in_both_orders(worker: Worker) -> None:
    assert await expected(worker, 1999) == "awaited"
    await worker.handle(a_payment().succeeded())
    assert await expected(worker, 1999) == "matched"
    await worker.handle(Payment(metadata={"order_id": "o-2"}).succeeded())
    async with worker.connection.transaction():
        assert await expect(worker.connection, "o-2", 1999, "USD", None, new_trace()) == "matched"
    assert await mismatches(worker) == []


async def test_a_mismatch_is_emitted_once_when_the_payment_comes_last(worker: Worker) -> None:
    await expected(worker, 2500, "u-1")
    payment = a_payment()
    await worker.handle(payment.created(START), payment.succeeded(START + 1), payment.refunded(1, START + 2))
    await worker.handle(payment.refunded(2, START + 3))
    assert await expected(worker, 2500) == "mismatched"
    assert await mismatches(worker) == [(1999, 2500)]
    emitted = await worker.outbox("billing.")
    assert [row["type"] for row in emitted[:2]] == ["billing.payment.succeeded", "billing.payment.mismatched"]
    assert {row["aggregate_version"] for row in emitted[:2]} == {2}
    assert {row["data"]["userId"] for row in emitted[:2]} == {"u-1"}


async def test_a_mismatch_is_emitted_once_when_the_expectation_comes_last(worker: Worker) -> None:
    payment = a_payment()
    await worker.handle(payment.created(START), payment.succeeded(START + 1))
    assert await outcome(worker) == "unexpected"
    assert [await expected(worker, 2500) for _ in range(2)] == ["mismatched", "mismatched"]
    assert await mismatches(worker) == [(1999, 2500)]
    (emitted,) = await worker.outbox("billing.payment.mismatched")
    assert (emitted["aggregate_id"], emitted["aggregate_version"], emitted["data"]["version"]) == (payment.id, 2, 2)


async def test_an_expectation_can_be_changed_until_it_is_paid(worker: Worker) -> None:
    await expected(worker, 1)
    assert await expected(worker, 1999) == "awaited"
    await worker.handle(a_payment().succeeded())
    with pytest.raises(ProjectionError) as conflict:
        await expected(worker, 1)
    assert conflict.value.reason == "expectation_settled"
    assert await outcome(worker) == "matched"
    assert await expected(worker, 1999, "u-1") == "matched"


async def test_the_user_of_the_expectation_is_notified(worker: Worker) -> None:
    await expected(worker, 1999, "u-1")
    payment = a_payment(receipt_email="payer@example.com")
    await worker.handle(payment.failed(START))
    await worker.handle(payment.succeeded(START + 1))
    await worker.handle(payment.refunded(1, START + 2))
    messages = [(row["data"]["template"], row["data"]["to"]) for row in await worker.outbox("notification.")]
    assert messages == [("payment-failed", "u-1"), ("payment-succeeded", "u-1"), ("payment-refunded", "u-1")]


async def test_of_two_payments_for_one_reference_the_smaller_id_has_it_in_both_orders(worker: Worker) -> None:
    first, second = a_payment(id="pi_1"), a_payment(id="pi_2", amount=500)
    await expected(worker, 1999)
    await worker.handle(second.succeeded())
    assert await outcome(worker) == "mismatched"
    await worker.handle(first.succeeded())
    assert await outcome(worker) == "matched"
    await worker.connection.execute("truncate reconciliations, payments, history")
    await expected(worker, 1999)
    await worker.handle(second.succeeded(), first.succeeded())
    assert await outcome(worker) == "matched"


async def test_a_payment_that_turns_out_to_have_a_reference_moves_to_it(worker: Worker) -> None:
    payment = a_payment()
    await worker.handle(payment.refunded(1, START + 1, metadata={}))
    rows = await worker.rows("select reference from reconciliations")
    assert [row["reference"] for row in rows] == [payment.id]
    await worker.handle(payment.succeeded(START))
    rows = await worker.rows("select reference, outcome from reconciliations")
    assert [(row["reference"], row["outcome"]) for row in rows] == [("o-1", "unexpected")]


async def test_a_reference_that_lost_its_payment_awaits_another(worker: Worker) -> None:
    payment = a_payment()
    await expected(worker, 1999)
    await worker.handle(payment.succeeded(START))
    await worker.handle(payment.succeeded(START + 1, metadata={"reference": "o-9"}))
    rows = await worker.rows("select reference, outcome from reconciliations order by 1")
    assert [(row["reference"], row["outcome"]) for row in rows] == [("o-1", "awaited"), ("o-9", "unexpected")]


async def test_expected_and_paid_at_the_same_moment_meet_once(worker: Worker, other_worker: Worker) -> None:
    payment = a_payment()
    async with worker.connection.transaction():
        await worker.handle(payment.succeeded())
        waiting = asyncio.create_task(expected(other_worker, 2500))
        pid = other_worker.connection.info.backend_pid

        async def blocked() -> object | None:
            return (await worker.rows("select pg_blocking_pids(%s) as pids", pid))[0]["pids"] or None

        await eventually(blocked)
    assert await waiting == "mismatched"
    assert await mismatches(worker) == [(1999, 2500)]
