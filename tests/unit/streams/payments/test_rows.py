"""A row has a value for every column of its table, in the order of the columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from projections.tables import invoices, payments, subscriptions
from streams.payments.fold import fold
from streams.payments.steps import key_of
from streams.payments.store import Held, row_of, state_in
from streams.payments.stripe import facts_of
from tests.simulators.stripe import START, Invoice, Payment, Subscription
from tests.simulators.stripe_objects import DAY

if TYPE_CHECKING:
    from sqlalchemy import Table

MOMENT = datetime.fromtimestamp(START, tz=UTC)
ALWAYS = {"provider": "stripe", "version": 7, "updated_at": MOMENT, "livemode": False, "account": "acct_1"}


@pytest.mark.parametrize(
    ("table", "kind", "body", "columns"),
    [
        (
            payments,
            "payment_intent.succeeded",
            Payment(id="pi_1", customer="cus_1", invoice="in_1", metadata={"order_id": "o-1", "user_id": "u-1"}).succeeded(),
            {
                "id": "pi_1",
                "status": "succeeded",
                "amount": 1999,
                "amount_refunded": 0,
                "currency": "usd",
                "reference": "o-1",
                "customer_id": "cus_1",
                "user_id": "u-1",
                "invoice_id": "in_1",
                "subscription_id": None,
            },
        ),
        (
            subscriptions,
            "customer.subscription.created",
            Subscription(id="sub_1", customer="cus_1").created(),
            {
                "id": "sub_1",
                "status": "incomplete",
                "customer_id": "cus_1",
                "current_period_end": datetime.fromtimestamp(START + 30 * DAY, tz=UTC),
            },
        ),
        (
            invoices,
            "invoice.paid",
            Invoice(id="in_1", customer="cus_1", subscription="sub_1").paid(),
            {
                "id": "in_1",
                "status": "paid",
                "amount_due": 2990,
                "amount_paid": 2990,
                "currency": "eur",
                "customer_id": "cus_1",
                "subscription_id": "sub_1",
                "payment_id": None,
            },
        ),
    ],
)
def test_a_row_fits_its_table_and_restores_its_state(table: Table, kind: str, body: bytes, columns: dict[str, Any]) -> None:
    fact = msgspec.structs.replace(facts_of(kind, body)[0], livemode=False, account="acct_1")
    state = fold(None, fact)
    row = dict(zip((column.name for column in table.columns), row_of(state, 7), strict=True))
    kept = row.pop("state")
    assert row == {**ALWAYS, **columns}
    assert state_in(key_of(fact), Held(7, kept)) == state
