"""Counts in buckets of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest

from operations.stats import store
from operations.stats.query import BUCKETS_MAX, Of, StatsQuery
from runtime.ids import id_at
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    import psycopg

    from tests.gateways import Gateway


async def asked(gateway: Gateway, query: str) -> dict[str, Any]:
    response = await gateway.get(f"/v1/admin/stats?{query}")
    assert response.status == 200, await response.text()
    found: dict[str, Any] = await response.json()
    return found


def totals(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {
        each["name"]: (sum(point["number"] for point in each["points"]), sum(point["failures"] for point in each["points"]))
        for each in found["series"]
    }


async def test_deliveries_are_counted_by_source_outcome_and_type(gateway: Gateway) -> None:
    for number in (1, 2, 2):
        await gateway.post(Payment(id=f"pi_{number}").succeeded(event_id=f"evt_{number}"))
    await gateway.post(b"{}", secret="whsec_strange")
    await gateway.resources.rejections.flush()
    found = await asked(gateway, "of=deliveries&bucket=1h")
    assert totals(found) == {"stripe": (4, 1)}
    counted: dict[str, int] = {}
    for point in found["series"][0]["points"]:
        for outcome, number in point["outcomes"].items():
            counted[outcome] = counted.get(outcome, 0) + number
    assert counted == {"accepted": 2, "duplicate": 1, "rejected": 1}
    assert totals(await asked(gateway, "of=types&bucket=1d")) == {"stripe payment_intent.succeeded": (3, 0)}
    assert [totals(await asked(gateway, f"bucket=1h&name={name}")) for name in ("stripe", "other")] == [{"stripe": (4, 1)}, {}]


async def test_effects_attempts_and_notifications_are_counted_and_timed(
    gateway: Gateway, connection: psycopg.AsyncConnection
) -> None:
    now = datetime.now(UTC)
    begun = [id_at(now - timedelta(seconds=seconds)) for seconds in (3, 3, 3)]
    run = connection.execute
    for own, took in zip(begun, (100, 200, 2000), strict=True):
        await run(
            "insert into consumed values (%s, 'payments', %s)", (own, now - timedelta(seconds=3) + timedelta(milliseconds=took))
        )
    await run("insert into consumed (event_id, consumer, at) values (%s, 'search', null)", (begun[0],))
    await run(
        """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers)
           values (%s, 'search', 'document_refused', '', 't', 0, 0, '[]')""",
        (begun[0],),
    )
    await run(
        """insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at,
             version)
           values (%s, 'ACME', 'acme', '1', 'delivered', '{}', '', now(), now(), 1)""",
        (begun[0],),
    )
    await run(
        """insert into lead_attempts (lead_id, attempt, started_at, ended_at, error)
           select %s, n, now() - interval '4 seconds', now() - interval '3 seconds', case n when 1 then 'timeout' end
           from generate_series(1, 2) n""",
        (begun[0],),
    )
    await run(
        """insert into notifications (id, recipient, channel, template, data, address, message_id, status, reason, traceparent)
           values (%s, 'u', 'EMAIL', 't', '{}', 'a', 'm', 'failed', 'r', '')""",
        (begun[0],),
    )
    effects = await asked(gateway, "of=effects&bucket=1d")
    assert totals(effects) == {"payments": (3, 0), "search": (2, 1)}
    payments = next(each for each in effects["series"] if each["name"] == "payments")["points"][-1]
    if payments["number"] == 3:  # unless midnight lies between
        assert (round(payments["p50Ms"], -1), payments["p99Ms"] > 1900) == (200, True)
    attempts = await asked(gateway, "of=attempts&bucket=1h")
    assert totals(attempts) == {"ACME": (2, 1)}
    assert {point["p50Ms"] for point in attempts["series"][0]["points"]} == {1000}
    assert totals(await asked(gateway, "of=notifications&bucket=5m")) == {"EMAIL": (1, 1)}


async def test_a_bucket_begins_at_a_whole_multiple_of_its_size(gateway: Gateway, connection: psycopg.AsyncConnection) -> None:
    at = datetime.now(UTC).replace(minute=7, second=30, microsecond=0) - timedelta(hours=1)
    if at.date() != datetime.now(UTC).date():
        at += timedelta(hours=1)
    await connection.execute(
        "insert into webhook_deliveries (id, source, outcome, trace_id) values (%s, 'stripe', 'accepted', %s)",
        (id_at(at), "0" * 32),
    )
    found = await asked(gateway, f"bucket=5m&from={at:%Y-%m-%dT%H}:06:00Z&to={at:%Y-%m-%dT%H}:08:00Z")
    assert (found["from"], found["to"]) == (f"{at:%Y-%m-%dT%H}:05:00Z", f"{at:%Y-%m-%dT%H}:10:00Z")
    assert [point["at"] for point in found["series"][0]["points"]] == [f"{at:%Y-%m-%dT%H}:05:00Z"]
    assert (await asked(gateway, f"bucket=5m&from={at:%Y-%m-%dT%H}:00:00Z&to={at:%Y-%m-%dT%H}:05:00Z"))["series"] == []


async def test_of_many_series_the_rest_is_added_up(connection: psycopg.AsyncConnection) -> None:
    now = datetime.now(UTC)
    for number in range(store.SERIES_MAX + 3):
        await connection.execute(
            "insert into webhook_deliveries (id, source, outcome, trace_id, type) values (%s, 'stripe', 'accepted', %s, %s)",
            (id_at(now), "0" * 32, f"type.{number}"),
        )
    found = await store.count(connection, "types", StatsQuery(bucket="1d").period(now))
    assert (len(found), found[-1].name) == (store.SERIES_MAX + 1, store.OTHERS)
    assert [(point.number, point.outcomes) for point in found[-1].points] == [(3, {"accepted": 3})]


@pytest.mark.parametrize(
    "query",
    [
        "of=money", "bucket=2m", "bucket=", "from=never", "from=2026-11-02&to=2026-11-01", "from=2026-11-01&to=2026-11-01",
        "bucket=1m&from=2026-01-01&to=2026-02-01", "to=%00", "other=1", "bucket=1d&to=9999-12-31T23:59:59Z&from=9999-12-31",
    ],
)  # fmt: skip
async def test_a_question_that_makes_no_sense_is_refused(gateway: Gateway, query: str) -> None:
    response = await gateway.get(f"/v1/admin/stats?{query}")
    assert (response.status, (await response.json(content_type=None))["reason"]) == (400, "query_malformed")


def test_no_period_has_more_buckets_than_may_be() -> None:
    now = datetime(2026, 11, 28, 12, 3, tzinfo=UTC)
    period = StatsQuery(bucket="1m", since=now - timedelta(minutes=BUCKETS_MAX)).period(now)
    assert (period.end - period.begin) == BUCKETS_MAX * period.width
    assert StatsQuery(bucket="1m").period(now).end == now


@pytest.mark.parametrize("of", get_args(Of))
async def test_the_figures_come_from_a_range_of_an_index_and_of_days(connection: psycopg.AsyncConnection, of: Of) -> None:
    """Daily tables are read for the days of the period only, others by the range if the planner can use an index."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    period = StatsQuery(bucket="1m", since=midnight + timedelta(minutes=1), until=midnight + timedelta(hours=1)).period(midnight)
    await connection.execute("set enable_seqscan = off")
    rows = await (await connection.execute("explain " + store.statement(of), store.values_of(period), prepare=False)).fetchall()
    plan = "\n".join(row[0] for row in rows)
    days = {
        word
        for word in plan.split()
        for table in ("webhook_deliveries_2", "consumed_2")
        if word.startswith(table) and "idx" not in word and "pkey" not in word
    }
    assert days <= {f"webhook_deliveries_{midnight:%Y%m%d}", f"consumed_{midnight:%Y%m%d}"}
    assert bool(days) == (of in {"deliveries", "types", "effects"})
    assert "Seq Scan" not in plan
