"""The overview: each of its lamps, and that it reads no whole table."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from operations.overview import store
from outbox import alerts
from runtime.ids import new_id
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    import psycopg

    from tests.gateways import Gateway


async def seen(gateway: Gateway) -> dict[str, Any]:
    response = await gateway.get("/v1/admin/overview")
    assert response.status == 200, await response.text()
    found: dict[str, Any] = await response.json()
    return found


async def test_an_empty_system_is_well(gateway: Gateway) -> None:
    found = await seen(gateway)
    assert found["ledger"] == {"balanced": True, "sources": []}
    assert found["pending"] == {"waiting": 0, "parked": 0}
    assert found["deadLetters"] == {"ours": 0, "theirs": 0, "leads": 0}
    assert (found["partners"], found["alerts"]) == ([], [])
    assert {"intake", "reads", "presence"} <= {each["name"] for each in found["processes"]}


async def test_each_trouble_shows(gateway: Gateway, connection: psycopg.AsyncConnection) -> None:
    own = (await (await gateway.post(Payment(id="pi_1").succeeded())).json())["id"]
    run = connection.execute
    await run("insert into ledger_sweeps (swept_to) values (now())")
    await run(
        """insert into ledger_findings (event_id, source, kind, since) values
           (%s, 'stripe', 'in_flight', now() - interval '1 hour'), (%s, 'stripe', 'missing', now()),
           (%s, 'partner', 'parked', now())""",
        (new_id(), new_id(), new_id()),
    )
    await run(
        "insert into lead_breakers (partner, opened_at, probe_at, failures, error) values ('ACME', now(), now(), 7, 'timeout')"
    )
    await run("insert into lead_breakers (partner, failures) values ('WELL', 0)")
    for reason in ("schema_too_new", "value_malformed"):
        await run(
            """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers)
               values (%s, 'search', %s, '', 't', 0, (select count(*) from dead_letters), '[]')""",
            (new_id(), reason),
        )
    await run(
        """insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at,
             version)
           select gen_random_uuid(), 'ACME', 'acme', n::text, 'rejected', '{}', '', now(), now(), 1
           from generate_series(1, 3) n"""
    )
    await run("insert into lead_discards (lead_id, reason, discarded_by) select id, 'r', 'me' from leads limit 1")
    found = await seen(gateway)
    assert found["ledger"]["balanced"] is False
    assert {each["source"]: (each["balanced"], each["off"], each["inFlight"]) for each in found["ledger"]["sources"]} == {
        "stripe": (False, 1, 1), "partner": (True, 0, 0),
    }  # fmt: skip
    assert found["ledger"]["sweptTo"]
    assert found["pending"]["waiting"] == 1
    assert found["pending"]["oldest"] == (await (await gateway.get(f"/v1/admin/webhooks/deliveries/{own}")).json())["receivedAt"]
    assert found["deadLetters"]["ours"] + found["deadLetters"]["theirs"] == 2
    assert found["deadLetters"]["leads"] == 2
    assert [(each["partner"], each["failures"], each["error"]) for each in found["partners"]] == [("ACME", 7, "timeout")]


async def test_an_alert_is_open_while_its_window_or_an_hour_lasts(gateway: Gateway, connection: psycopg.AsyncConnection) -> None:
    await alerts.count_occurrences(connection, alerts.DEAD_LETTERS, "search")
    await alerts.count_occurrences(connection, alerts.SIGNATURE_FAILURES, "stripe")  # below its threshold
    [row] = (await seen(gateway))["alerts"]
    assert (row["alert"], row["subject"], row["count"], row["runbook"]) == (
        "dead_letters",
        "search",
        1,
        "runbooks/dead-letters.md",
    )
    await connection.execute(
        "update alert_windows set started_at = started_at - %s, raised_at = raised_at - %s", (timedelta(hours=2),) * 2
    )
    assert (await seen(gateway))["alerts"] == []
    await alerts.count_occurrences(connection, alerts.RETENTION_BEHIND, "days")
    await connection.execute("update alert_windows set raised_at = now() - interval '2 hours' where alert = 'retention_behind'")
    assert [each["alert"] for each in (await seen(gateway))["alerts"]] == ["retention_behind"]


def test_every_condition_is_known_to_the_overview() -> None:
    declared = {each for each in vars(alerts).values() if isinstance(each, alerts.Condition)}
    assert declared == {*alerts.CONDITIONS}


@pytest.mark.parametrize("statement", ["_PENDING", "_LEADS", "_ALERTS"])
async def test_counted_rows_have_an_index_and_a_limit(connection: psycopg.AsyncConnection, statement: str) -> None:
    await connection.execute("set enable_seqscan = off")
    values = (timedelta(days=1), 10) if statement == "_ALERTS" else (10,)
    plan = str(await (await connection.execute("explain " + getattr(store, statement), values)).fetchall())
    assert "Seq Scan on" not in plan.replace("Seq Scan on lead_discards", "")
    assert "Limit" in plan
