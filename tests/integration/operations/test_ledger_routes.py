"""The ledger on the internal listener: each of its figures leads to exactly the deliveries that it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import psycopg

from operations.ledger.states import Settled
from outbox import lost
from outbox.lost import Loss
from outbox.offsets import Place
from tests.gateways import SERVICE
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from tests.gateways import Gateway

FIGURES = ("rejected", "duplicates", "ignored", "processed", "inFlight", "deadLettered")
SOON = "to=9999-12-31T00:00:00Z"


async def found(gateway: Gateway, path: str) -> Any:
    response = await gateway.get(path)
    assert response.status == 200, await response.text()
    return await response.json()


async def stripe(gateway: Gateway) -> dict[str, Any]:
    answer = await found(gateway, f"/v1/admin/ledger?from=2026-01-01&{SOON}")
    return next(source for source in answer["sources"] if source["source"] == "stripe") | {"balanced": answer["balanced"]}


async def take_all_kinds(gateway: Gateway, database_url: str) -> None:
    """Store accepted deliveries that are handled, set aside, parked and in flight, and one of each other outcome."""
    bodies = [Payment(id=f"pi_{n}").succeeded(event_id=f"evt_{n}") for n in range(5)]
    ids = [(await (await gateway.post(body)).json())["id"] for body in bodies]
    await gateway.post(bodies[0])
    await gateway.post(bodies[0], secret="wrong")
    await gateway.post(Payment(id="pi_9").succeeded(event_id="evt_9").replace(b"payment_intent.succeeded", b"nothing.known"))
    await gateway.resources.rejections.flush()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for event_id in ids[:2]:
            connection.execute("insert into consumed values (%s, 'payments')", (event_id,))
            connection.execute("delete from outbox_pending where event_id = %s", (event_id,))
        connection.execute(
            """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers, event_id)
               values (gen_random_uuid(), 'payments', 'handler_failed', '', 't', 0, 0, '[]', %s)""",
            (ids[1],),
        )
        connection.execute("update outbox_pending set parked_at = now(), reason = 'x' where event_id = %s", (ids[2],))
        connection.execute("delete from outbox_pending where event_id = %s", (ids[3],))


async def test_every_figure_is_explained_by_the_rows_that_its_link_lists(gateway: Gateway, database_url: str) -> None:
    await take_all_kinds(gateway, database_url)
    source = await stripe(gateway)
    assert source["balanced"]
    assert {name: source[name] for name in FIGURES} == {
        "rejected": 1, "duplicates": 1, "ignored": 1, "processed": 1, "inFlight": 2, "deadLettered": 2,
    }  # fmt: skip
    assert source["received"] == sum(source[name] for name in FIGURES) == 8
    assert (source["waitingForKafka"], source["parked"]) == (1, 1)
    listed = {name: {row["id"] for row in (await found(gateway, link))["items"]} for name, link in source["links"].items()}
    assert {name: len(rows) for name, rows in listed.items()} == {name: source[name] for name in listed}
    assert listed.keys() == {*FIGURES, "received", "missing"}
    assert set().union(*(listed[name] for name in FIGURES)) == listed["received"]


async def test_a_lost_row_breaks_the_balance_and_is_named(gateway: Gateway, database_url: str) -> None:
    lost = (await (await gateway.post(Payment().succeeded())).json())["id"]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("delete from outbox where id = %s", (lost,))
    answer = await found(gateway, f"/v1/admin/ledger?from=2026-01-01&{SOON}")
    assert answer["balanced"] is False
    assert answer["unexplained"] == [{"source": "stripe", "id": lost, "what": "missing"}]
    source = await stripe(gateway)
    assert [row["id"] for row in (await found(gateway, source["links"]["missing"]))["items"]] == [lost]


async def test_a_ledger_covers_the_last_day_by_default(gateway: Gateway) -> None:
    answer = await found(gateway, "/v1/admin/ledger")
    assert answer["clipped"] is False
    assert [source["received"] for source in answer["sources"]] == [0, 0, 0]
    assert (await found(gateway, "/v1/admin/ledger?from=2026-01-01"))["clipped"] is True


async def test_a_period_that_makes_no_sense_or_is_gone_is_refused(gateway: Gateway) -> None:
    for query, status, reason in (
        ("from=2026-11-24&to=2026-11-23", 400, "query_malformed"),
        ("from=yesterday", 400, "query_malformed"),
        ("from=2020-01-01&to=2020-01-02", 422, "period_not_kept"),
    ):
        response = await gateway.get(f"/v1/admin/ledger?{query}")
        assert (response.status, (await response.json())["reason"]) == (status, reason)
    assert (await gateway.get("/v1/admin/ledger", SERVICE)).status == 403


async def test_an_unknown_state_is_refused(gateway: Gateway) -> None:
    assert (await gateway.get("/v1/admin/webhooks/deliveries?settled=lost")).status == 400
    for state in get_args(Settled):
        assert (await gateway.get(f"/v1/admin/webhooks/deliveries?settled={state}")).status == 200


async def test_records_that_kafka_lost_before_they_were_read_are_reported_until_all_are_handled(
    gateway: Gateway, database_url: str
) -> None:
    path = f"/v1/admin/ledger?from=2026-01-01&{SOON}"
    assert (await found(gateway, path))["lostByKafka"] == []
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await lost.report(connection, [Loss("payments", Place("webhooks.stripe", 3), 10, 25)])
        [loss] = (await found(gateway, path))["lostByKafka"]
        await connection.execute("update lost_ranges set searched_at = now(), finished_at = now()")
    span = (loss["consumer"], loss["topic"], loss["partition"], loss["fromOffset"], loss["untilOffset"], loss["searched"])
    assert span == ("payments", "webhooks.stripe", 3, 10, 25, False)
    assert (await found(gateway, path))["lostByKafka"] == []
