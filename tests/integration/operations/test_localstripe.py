"""Reconciliation with localstripe, a Stripe simulator of other authors, as far as it goes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import psycopg
import pytest

from operations.reconcile.lists import StripeLists
from operations.reconcile.run import Options, Report, reconcile
from runtime.settings import Secret
from runtime.tracing import new_trace
from schemas.stripe_snapshots import Answer
from streams.payments.fetching.api import Gone, opened_api
from streams.payments.fetching.store import Wanted
from tests.integration.operations.reconciling import worker
from tests.localstripe import KEY, LocalStripe, localstripe
from tests.rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

AFTER: Final = int(time.time()) - 60


@pytest.fixture(scope="module")
def stripe() -> Iterator[LocalStripe]:
    with localstripe() as running:
        yield running


async def test_it_gives_an_object_or_reports_that_there_is_none(stripe: LocalStripe) -> None:
    made = stripe.pay(1234, "eur")["id"]
    async with opened_api(stripe.url, Secret(KEY), timedelta(seconds=10)) as api:
        for name, kind in ((made, Answer), ("pi_none", Gone)):
            asked = Wanted(
                uuid4(), "payment_intent", name, "thin", "", AFTER, None, None, False, new_trace().traceparent, attempts=1
            )
            assert isinstance(await api.fetch(asked), kind)


async def test_its_payments_and_refunds_are_put_in_and_are_then_the_same(stripe: LocalStripe, database_url: str) -> None:
    """It knows no disputes, and cannot narrow a list to a time."""
    paid = stripe.pay(5000, "usd")["id"]
    refund = stripe.post("refunds", payment_intent=paid, amount="70")["id"]
    now = datetime.now(UTC)
    asked = Options(now - timedelta(hours=1), now + timedelta(minutes=1), apply=True, wait=timedelta(seconds=20))

    async def run(connection: psycopg.AsyncConnection) -> Report:
        report = Report(since=asked.since, until=asked.until, apply=True)
        return await reconcile(connection, StripeLists(KEY, stripe.url, rate=100, retries=0), asked, report)

    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        with worker(database_url):
            first = await run(connection)
        assert {each.kind for each in first.uncompared} == {"dispute"}
        assert paid in {each.id for each in first.differences}  # its refund may have been included in its charge by then
        assert first.remaining == 0
        [payment] = await rows(connection, f"select status, amount, amount_refunded, currency from payments where id = '{paid}'")
        assert payment == {"status": "partially_refunded", "amount": 5000, "amount_refunded": 70, "currency": "usd"}
        assert [row["status"] for row in await rows(connection, f"select status from refunds where id = '{refund}'")] == [
            "succeeded"
        ]
        again = await run(connection)
        assert (again.differences, again.compared["payment_intent"] >= 1) == ([], True)
