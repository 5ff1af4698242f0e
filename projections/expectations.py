"""The amount that a service expects to be paid, compared with the paid one as soon as both are known."""

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection, Rollback
from psycopg.rows import class_row, dict_row

from outbox.append import append, event_of
from projections.errors import ProjectionError, Reason
from projections.reconciliation import SOURCE
from projections.reconciliation import Outcome as Stored
from runtime.tracing import Trace
from schemas.billing import PaymentMismatched

Outcome = Literal["awaited", "matched", "mismatched"]


class _Row(NamedTuple):
    expected_amount: int | None
    expected_currency: str | None
    user_id: str | None
    payment_id: str | None
    outcome: Stored


async def expect(  # noqa: PLR0917  # the fields of one expectation, in the order of the request
    connection: AsyncConnection, reference: str, amount: int, currency: str, user_id: str | None, trace: Trace
) -> Outcome:
    """
    Expect `amount` minor units under the reference, in the transaction that is open on the connection.

    A repeated call changes nothing; another amount replaces the first while nothing is paid, and raises ProjectionError
    `expectation_settled` afterwards. If another amount was paid before, `billing.payment.mismatched` is appended, once.
    """
    wanted = (amount, currency.lower())
    payment_id = await _payment_behind(connection, reference)
    while True:
        # The payments worker locks payment before reconciliation, and so do we: if a payment came in between, the rollback to the
        # savepoint releases the row before we wait for the payment.
        async with connection.transaction() as savepoint:
            payment = await _lock_payment(connection, payment_id) if payment_id else None
            if await _insert(connection, reference, wanted, user_id):
                return "awaited"
            row = await _lock(connection, reference)
            if row is None or row.payment_id != payment_id:
                payment_id = row.payment_id if row else None
                raise Rollback(savepoint)
            outcome = await _update(connection, reference, wanted, user_id, row)
            if payment is not None and (row.outcome, outcome) == ("unexpected", "mismatched"):
                await _append_mismatch(connection, payment, wanted, user_id, trace)
            return outcome


async def _update(
    connection: AsyncConnection, reference: str, wanted: tuple[int, str], user_id: str | None, row: _Row
) -> Outcome:
    known = (row.expected_amount, row.expected_currency)
    if row.payment_id is not None and row.expected_amount is not None and known != wanted:
        raise ProjectionError(
            Reason.EXPECTATION_SETTLED, f"{reference} was paid when {row.expected_amount} {row.expected_currency} was expected"
        )
    cursor = await connection.execute(
        """update reconciliations set expected_amount = %s, expected_currency = %s, user_id = coalesce(%s, user_id)
           where reference = %s returning outcome""",
        (*wanted, user_id, reference),
    )
    return (await cursor.fetchall())[0][0]  # type: ignore[no-any-return]  # a CHECKed word of the row just locked


async def _append_mismatch(
    connection: AsyncConnection, payment: dict[str, Any], wanted: tuple[int, str], user_id: str | None, trace: Trace
) -> None:
    amount, currency = wanted
    named = {**payment, "user_id": payment["user_id"] or user_id}
    record = PaymentMismatched(expected_amount=amount, expected_currency=currency, **named)
    event = event_of(
        record,
        aggregate_id=record.provider_payment_id,
        source=SOURCE,
        occurred_at=datetime.now(UTC),
        trace=trace,
        version=record.version,
        livemode=record.livemode,
        account=record.account,
    )
    await append(connection, [event])


async def _payment_behind(connection: AsyncConnection, reference: str) -> str | None:
    cursor = await connection.execute("select payment_id from reconciliations where reference = %s", (reference,))
    row = await cursor.fetchone()
    return row[0] if row else None


async def _lock_payment(connection: AsyncConnection, payment_id: str) -> dict[str, Any] | None:
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(
        """select provider, id as provider_payment_id, status, amount, amount_refunded, currency, version,
                  customer_id, user_id, invoice_id, subscription_id, livemode, account
           from payments where id = %s for update""",
        (payment_id,),
    )
    return await cursor.fetchone()


async def _insert(connection: AsyncConnection, reference: str, wanted: tuple[int, str], user_id: str | None) -> bool:
    cursor = await connection.execute(
        """insert into reconciliations (reference, expected_amount, expected_currency, user_id) values (%s, %s, %s, %s)
           on conflict (reference) do nothing""",
        (reference, *wanted, user_id),
    )
    return cursor.rowcount == 1


async def _lock(connection: AsyncConnection, reference: str) -> _Row | None:
    cursor = connection.cursor(row_factory=class_row(_Row))
    await cursor.execute(
        """select expected_amount, expected_currency, user_id, payment_id, outcome
           from reconciliations where reference = %s for update""",
        (reference,),
    )
    return await cursor.fetchone()
