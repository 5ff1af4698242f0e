"""The internal listener: who may call it, what it returns, and what the public listener does not serve."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from operations.deliveries.command import read_pages
from operations.deliveries.query import DeliveriesQuery
from outbox import pages as bounded
from outbox.append import append
from runtime.ids import new_id, time_of
from schemas.envelope import Event
from tests.gateways import ADMIN, SERVICE, Gateway
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.gateways import StartGateway

DELIVERIES = "/v1/admin/webhooks/deliveries"


async def accepted(gateway: Gateway, count: int = 1) -> list[str]:
    answers = [await (await gateway.post(Payment(id=f"pi_{n}").succeeded(event_id=f"evt_{n}"))).json() for n in range(count)]
    return [answer["id"] for answer in answers]


async def found(gateway: Gateway, path: str) -> Any:
    response = await gateway.get(path)
    assert response.status == 200, await response.text()
    return await response.json()


def ids(items: Iterable[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (DELIVERIES, {}, 401),
        (DELIVERIES, {"X-Internal-Token": "wrong"}, 401),
        (DELIVERIES, SERVICE, 403),
        (DELIVERIES, ADMIN, 200),
        ("/v1/admin/nowhere", {}, 401),
        ("/v1/admin/nowhere", ADMIN, 404),
        ("/internal/v1/nowhere", {}, 401),
        ("/internal/v1/nowhere", SERVICE, 404),
        ("/internal/v1/nowhere", ADMIN, 404),
        ("/health/live", {}, 200),
        ("/health/ready", {}, 200),
        ("/metrics", {}, 200),
    ],
)
async def test_a_token_opens_only_its_own_routes(gateway: Gateway, path: str, headers: dict[str, str], status: int) -> None:
    response = await gateway.get(path, headers)
    assert response.status == status
    assert response.headers["X-Trace-Id"]


@pytest.mark.parametrize("path", [DELIVERIES, "/internal/v1/payments/expect", "/metrics", "/v1/admin/payments/pi_1"])
async def test_nothing_internal_is_on_the_public_listener(gateway: Gateway, path: str) -> None:
    assert (await gateway.client.get(f"{gateway.public}{path}", headers=ADMIN)).status == 404


async def test_webhooks_are_not_on_the_internal_listener(gateway: Gateway) -> None:
    assert (await gateway.client.post(f"{gateway.internal}/v1/webhooks/stripe", headers=ADMIN)).status == 404


async def test_the_log_is_newest_first_and_pages_by_cursor(gateway: Gateway) -> None:
    newest_first = (await accepted(gateway, 5))[::-1]
    seen: list[str] = []
    path: str | None = f"{DELIVERIES}?limit=2"
    while path:
        page = await found(gateway, path)
        seen += ids(page["items"])
        path = f"{DELIVERIES}?limit=2&cursor={page['next']}" if "next" in page else None
    assert seen == newest_first


async def test_filters_narrow_the_log(gateway: Gateway) -> None:
    [first, second] = await accepted(gateway, 2)
    await gateway.post(Payment(id="pi_0").succeeded(event_id="evt_0"))
    await gateway.post(b"{}", secret="whsec_strange")
    await gateway.resources.rejections.flush()
    outcomes = [item["outcome"] for item in (await found(gateway, DELIVERIES))["items"]]
    assert sorted(outcomes) == ["accepted", "accepted", "duplicate", "rejected"]
    [duplicate] = (await found(gateway, f"{DELIVERIES}?outcome=duplicate"))["items"]
    assert (duplicate["ceId"], duplicate["eventId"]) == (first, "evt_0")
    assert (await found(gateway, f"{DELIVERIES}?source=razorpay"))["items"] == []
    assert len((await found(gateway, f"{DELIVERIES}?type=payment_intent.succeeded"))["items"]) == 3
    assert ids((await found(gateway, f"{DELIVERIES}?trace={second.replace('-', '')}"))["items"]) == [second]
    assert (await found(gateway, f"{DELIVERIES}?from=2999-01-01T00:00:00Z"))["items"] == []
    assert (await gateway.get(f"{DELIVERIES}?outcome=lost")).status == 400


async def test_a_delivery_has_its_time_source_type_and_outcome(gateway: Gateway) -> None:
    [delivery_id] = await accepted(gateway)
    detail = await found(gateway, f"{DELIVERIES}/{delivery_id}")
    assert detail["receivedAt"].startswith(f"{time_of(new_id()):%Y-%m-%d}")
    assert (detail["source"], detail["type"], detail["outcome"]) == ("stripe", "payment_intent.succeeded", "accepted")
    assert detail["journey"]["event"]["state"] == "pending"
    assert (await gateway.get(f"{DELIVERIES}/{new_id()}")).status == 404
    assert (await gateway.get(f"{DELIVERIES}/evt_0")).status == 404


async def test_the_journey_follows_what_an_event_caused(gateway: Gateway, database_url: str) -> None:
    [delivery_id] = await accepted(gateway)
    [cause] = await gateway.rows("outbox")
    fields = {
        name: cause[name] for name in ("aggregate_type", "aggregate_id", "occurred_at", "traceparent", "source", "dataschema")
    }
    effect = Event(
        id=new_id(),
        topic="billing.payment.events",
        type="billing.payment.succeeded",
        data=b"",
        causation_id=cause["id"],
        **fields,
    )
    last = Event(id=new_id(), topic="notification.commands", type="notification.send", data=b"", causation_id=effect.id, **fields)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await append(connection, [effect, last])
        await connection.execute("delete from outbox_pending where event_id = %s", (cause["id"],))
        await connection.execute(
            "update outbox_pending set parked_at = now(), reason = 'too_large' where event_id = %s", (last.id,)
        )
        await connection.execute("insert into consumed values (%s, 'payments')", (cause["id"],))
        await connection.execute(
            """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers, event_id)
               values (%s, 'search', 'document_refused', '', 'billing.payment.events', 0, 0, '[]', %s)""",
            (new_id(), effect.id),
        )
    journey = (await found(gateway, f"{DELIVERIES}/{delivery_id}"))["journey"]
    assert (journey["event"]["state"], journey["event"]["consumedBy"]) == ("relayed", ["payments"])
    assert [(station["type"], station["state"]) for station in journey["caused"]] == [
        ("billing.payment.succeeded", "pending"),
        ("notification.send", "parked"),
    ]
    assert journey["caused"][0]["deadLetters"][0]["reason"] == "document_refused"
    assert journey["caused"][1]["parkedReason"] == "too_large"


async def test_every_body_can_be_had_byte_for_byte(gateway: Gateway) -> None:
    body = Payment().succeeded(event_id="evt_1")
    for _ in range(2):
        await gateway.post(body)
    await gateway.send(b"\xff\0raw", {"Stripe-Signature": f"t={int(time.time())},v1=00", "Content-Type": "application/json"})
    await gateway.resources.rejections.flush()
    for item in (await found(gateway, DELIVERIES))["items"]:
        response = await gateway.get(f"{DELIVERIES}/{item['id']}/body")
        assert await response.read() == (b"\xff\0raw" if item["outcome"] == "rejected" else body)
        assert response.content_type == "application/octet-stream"
    assert (await gateway.get(f"{DELIVERIES}/{new_id()}/body")).status == 404


async def test_rejections_are_kept_up_to_the_quota_and_counted_beyond(start_gateway: StartGateway) -> None:
    async with start_gateway(REJECTED_KEPT_PER_HOUR="3") as gateway:
        for _ in range(2):
            for _ in range(5):
                await gateway.post(b"{}", secret="whsec_strange", User_Agent="Stripe/1.0")
            await gateway.resources.rejections.flush()
        kept = await gateway.rows("webhook_deliveries")
        quotas = await gateway.rows("rejected_quota")
    assert [(row["outcome"], row["reason"], row["body"]) for row in kept] == [("rejected", "signature_wrong", b"{}")] * 3
    assert kept[0]["headers"].keys() == {"Stripe-Signature", "Content-Type", "User-Agent"}
    assert kept[0]["client"] == "127.0.0.1"
    assert sum(row["kept"] for row in quotas) == 3
    assert sum(row["refused"] for row in quotas) == 7


async def test_unknown_state_is_not_found(gateway: Gateway) -> None:
    for kind in ("payments", "refunds", "disputes", "subscriptions", "invoices"):
        assert (await gateway.get(f"/v1/admin/{kind}/unknown")).status == 404


async def test_a_payment_can_be_expected(gateway: Gateway) -> None:
    expected = {"reference": "order-1", "amount": 1999, "currency": "USD", "userId": "user-1"}
    for _ in range(2):
        response = await gateway.ask("/internal/v1/payments/expect", expected, SERVICE)
        assert (response.status, await response.json()) == (200, {"reference": "order-1", "reconciliation": "awaited"})
    [row] = await gateway.rows("reconciliations")
    assert (row["expected_amount"], row["expected_currency"], row["user_id"]) == (1999, "usd", "user-1")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"{}", 422),
        (b'{"reference":"","amount":1,"currency":"usd"}', 422),
        (b'{"reference":"a\\u0000","amount":1,"currency":"usd"}', 422),
        (b'{"reference":"a","amount":-1,"currency":"usd"}', 422),
        (b'{"reference":"a","amount":1.5,"currency":"usd"}', 422),
        (b'{"reference":"a","amount":9223372036854775808,"currency":"usd"}', 422),
        (b'{"reference":"a","amount":1,"currency":"dollars"}', 422),
    ],
)
async def test_an_expectation_that_makes_no_sense_is_refused(gateway: Gateway, body: bytes, status: int) -> None:
    headers = SERVICE | {"Content-Type": "application/json"}
    response = await gateway.client.post(f"{gateway.internal}/internal/v1/payments/expect", data=body, headers=headers)
    assert response.status == status


async def test_the_metrics_count_deliveries(gateway: Gateway) -> None:
    await accepted(gateway)
    page = await (await gateway.get("/metrics")).text()
    assert 'tallyhook_webhooks_received_total{endpoint="",outcome="accepted",source="stripe"}' in page
    assert "tallyhook_intake_commit_seconds_bucket" in page


async def test_a_page_ends_at_its_limit_of_bytes_and_a_larger_row_comes_alone(gateway: Gateway, database_url: str) -> None:
    """With any page size, the pages have every row once; the last one has no `next`."""
    sizes = [10, 5_000_000, 6_000_000, 1_000_000, 3_000_000, 2_000_000, 10]
    rows = [(new_id(), "x" * size) for size in sizes]
    async with await psycopg.AsyncConnection.connect(database_url) as database:
        await database.cursor().executemany(
            """insert into webhook_deliveries (id, source, outcome, reason, trace_id, headers)
               values (%s, 'stripe', 'rejected', 'signature_wrong', %s, jsonb_build_object('stripe-signature', %s::text))""",
            [(id_, new_id().hex, text) for id_, text in rows],
        )
        await database.cursor().executemany(
            """insert into config_history (key, version, value, id, changed_at, changed_by)
               values ('large', %s, to_jsonb(%s::text), %s, now(), 'me')""",
            [(place + 1, text, id_) for place, (id_, text) in enumerate(rows)],
        )
    for path in (DELIVERIES, "/internal/v1/config/history"):
        pages = [page async for page in all_pages(gateway, path)]
        assert [len(page) for page in pages] == [2, 2, 1, 1, 1]
        assert [item for page in pages for item in page] == [str(id_) for id_, _ in reversed(rows)]


async def all_pages(gateway: Gateway, path: str, filters: str = "") -> AsyncIterator[list[str]]:
    cursor = ""
    while True:
        page = await found(gateway, f"{path}?limit=4{filters}{cursor}")
        yield ids(page["items"])
        if "next" not in page:
            return
        cursor = f"&cursor={page['next']}"


async def test_a_page_looks_at_a_bounded_number_and_its_next_leads_on(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = [Payment(id=f"pi_{n}") for n in range(5)]
    for n, payment in enumerate(sent):
        await gateway.post(payment.created(event_id=f"evt_{n}") if n in {0, 3} else payment.succeeded(event_id=f"evt_{n}"))
    monkeypatch.setattr(bounded, "ROWS_READ_MAX", 2)
    seen = [page async for page in all_pages(gateway, DELIVERIES, "&type=payment_intent.created")]
    assert [len(page) for page in seen] == [1, 0, 1]
    query = DeliveriesQuery(type="payment_intent.created", limit=2)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        found, more = await read_pages(connection, query, *query.span(datetime.now(UTC)))
    assert ([delivery.event_id for delivery in found], more) == (["evt_3", "evt_0"], False)
