"""The tables that a page of the delivery log reads when it is narrowed to a state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import psycopg
import pytest

from operations.deliveries import store
from operations.deliveries.query import DeliveriesQuery
from operations.ledger.states import Settled
from runtime.ids import first_id_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def relations(plan: dict[str, Any]) -> Iterator[str]:
    if name := plan.get("Relation Name"):
        yield name
    for part in plan.get("Plans", []):
        yield from relations(part)


@pytest.mark.parametrize("state", get_args(Settled))
async def test_no_day_outside_the_page_is_read(database_url: str, state: Settled) -> None:
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    span = first_id_of(tomorrow), first_id_of(tomorrow + timedelta(days=1))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        text, values = store.page(DeliveriesQuery(settled=state), *span)
        row = await (
            await connection.execute(b"explain (format json) " + text.as_bytes(connection), values, prepare=False)
        ).fetchone()
    assert row
    days = {day for name in relations(row[0][0]["Plan"]) if (day := name.rpartition("_")[2]).isdigit()}
    assert days == {f"{tomorrow:%Y%m%d}"}
