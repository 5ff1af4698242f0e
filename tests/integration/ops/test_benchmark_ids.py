"""The ids that a benchmark makes in Postgres are those of the simulator."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

from benchmarks.bodies import STRIPE_IDS
from tests.simulators import stripe


@pytest.mark.parametrize("at", [1_562_849_165, 1_680_800_504, 1_778_602_405.999])
def test_both_write_the_second_alike(database_url: str, at: float) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(STRIPE_IDS.encode())
        moment = datetime.fromtimestamp(at, tz=UTC)
        rows = connection.execute(
            "select pg_temp.stripe_token(%s, 'HistoryOf1', n) from generate_series(1, 300) n", (moment,)
        ).fetchall()
    tokens = {token for (token,) in rows}
    assert len(tokens) == 300
    ours = stripe.new_token(at)
    assert {(token[:6], token[6:16], len(token)) for token in tokens} == {(ours[:6], "HistoryOf1", len(ours))}
