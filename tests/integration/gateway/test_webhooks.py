"""A provider's webhook, from the socket to the rows: what is taken, and every way in which it is refused."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
from psycopg import sql

from gateway import metrics
from gateway.errors import Reason
from outbox.append import shard_of
from runtime.settings import Secret
from tests.gateways import OLD_SECRET, SECRET, Gateway
from tests.simulators.stripe import Payment, sign
from tests.waiting import eventually

if TYPE_CHECKING:
    import aiohttp

    from tests.gateways import StartGateway, Wire

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def problem_of(response: aiohttp.ClientResponse, status: int) -> Any:
    assert response.status == status
    assert response.content_type == "application/problem+json"
    problem = await response.json(content_type=None)
    assert problem["status"] == status
    assert "Traceback" not in await response.text()
    return problem


def succeeded(**names: str) -> bytes:
    return Payment(id=names.pop("payment", "pi_1")).succeeded(**names)


async def test_an_event_is_committed_before_it_is_acknowledged(gateway: Gateway) -> None:
    body = succeeded(event_id="evt_1")
    response = await gateway.post(body, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    answer = await response.json()
    assert response.status == 200
    assert answer == {"received": True, "id": answer["id"], "duplicate": False}
    [event] = await gateway.rows("outbox")
    assert str(event["id"]) == answer["id"]
    assert (event["data"], event["aggregate_id"], event["type"]) == (body, "pi_1", "com.stripe.payment_intent.succeeded")
    assert event["traceparent"].startswith(f"00-{TRACE}-")
    [pending] = await gateway.rows("outbox_pending")
    assert (pending["event_id"], pending["shard"]) == (event["id"], shard_of("pi_1"))
    [delivery] = await gateway.rows("webhook_deliveries")
    assert (delivery["id"], delivery["event_id"], delivery["outcome"]) == (event["id"], event["id"], "accepted")
    assert (delivery["trace_id"], delivery["secret_id"]) == (TRACE, Secret(SECRET).id)


async def test_the_old_secret_is_still_accepted_and_its_use_is_recorded(gateway: Gateway) -> None:
    response = await gateway.post(succeeded(), secret=OLD_SECRET)
    assert response.status == 200
    assert [row["secret_id"] for row in await gateway.rows("webhook_deliveries")] == [Secret(OLD_SECRET).id]


async def test_fifty_copies_at_once_are_one_event(gateway: Gateway) -> None:
    body = succeeded(event_id="evt_1")
    responses = await asyncio.gather(*(gateway.post(body) for _ in range(50)))
    answers = [await response.json() for response in responses]
    assert {response.status for response in responses} == {200}
    assert len({answer["id"] for answer in answers}) == 1
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 49
    assert len(await gateway.rows("outbox")) == len(await gateway.rows("outbox_pending")) == 1
    outcomes = [(row["outcome"], str(row["event_id"])) for row in await gateway.rows("webhook_deliveries")]
    assert sorted(outcomes) == [("accepted", answers[0]["id"])] + [("duplicate", answers[0]["id"])] * 49


async def test_a_type_without_a_handler_is_stored_and_goes_nowhere(gateway: Gateway) -> None:
    body = msgspec.json.encode(
        {"id": "evt_9", "type": "review.opened", "created": 1, "data": {"object": {"object": "review", "id": "prv_1"}}}
    )
    answer = await (await gateway.post(body)).json()
    assert answer == {"received": True, "id": answer["id"], "duplicate": False, "ignored": True, "reason": "type_not_handled"}
    assert [row["data"] for row in await gateway.rows("outbox")] == [body]
    assert await gateway.rows("outbox_pending") == []
    assert [(row["outcome"], row["reason"]) for row in await gateway.rows("webhook_deliveries")] == [
        ("ignored", "type_not_handled")
    ]


THIN = b"""{"id": "evt_thin", "object": "v2.core.event", "type": "v1.invoice.paid", "livemode": false, "context": null,
  "created": "2026-11-20T10:00:00.000Z", "related_object": {"id": "in_1", "type": "invoice", "url": "/v1/invoices/in_1"}}"""


async def test_a_thin_event_is_stored_and_ignored_while_its_object_cannot_be_fetched(gateway: Gateway) -> None:
    response = await gateway.post(THIN)
    answer = await response.json()
    assert (response.status, answer["ignored"]) == (200, True)
    [event] = await gateway.rows("outbox")
    assert (event["data"], event["aggregate_id"], event["occurred_at"]) == (THIN, "in_1", datetime(2026, 11, 20, 10, tzinfo=UTC))
    assert await gateway.rows("outbox_pending") == []
    stored = await (await gateway.get(f"/v1/admin/webhooks/deliveries/{answer['id']}")).json()
    assert (stored["outcome"], stored["reason"], stored["eventId"]) == ("ignored", "api_key_missing", "evt_thin")
    assert (await (await gateway.post(THIN)).json())["duplicate"]
    assert [row["reason"] for row in await gateway.rows("webhook_deliveries")] == ["api_key_missing", None]


async def test_with_a_key_a_thin_event_goes_to_the_worker(start_gateway: StartGateway) -> None:
    async with start_gateway(STRIPE_API_KEY="rk_test_1") as gateway:
        assert (await gateway.post(THIN)).status == 200
        assert [(row["outcome"], row["reason"]) for row in await gateway.rows("webhook_deliveries")] == [("accepted", None)]
        assert len(await gateway.rows("outbox_pending")) == 1


async def test_the_neighbours_of_a_row_that_postgres_refuses_are_taken(gateway: Gateway) -> None:
    bodies = [succeeded(payment=f"pi_{n}") for n in range(10)]
    bodies[4] = succeeded(payment="pi_\0")
    responses = await asyncio.gather(*(gateway.post(body) for body in bodies))
    assert [response.status for response in responses] == [200] * 4 + [400] + [200] * 5
    assert (await problem_of(responses[4], 400))["reason"] == Reason.EVENT_UNSTORABLE
    assert len(await gateway.rows("outbox")) == 9


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"Stripe_Signature": ""}, 401, Reason.SIGNATURE_MISSING),
        ({"Stripe_Signature": "nonsense"}, 400, Reason.SIGNATURE_MALFORMED),
        ({"secret": "whsec_strange"}, 401, Reason.SIGNATURE_WRONG),
        ({"Content_Type": "text/plain"}, 415, Reason.CONTENT_TYPE_NOT_JSON),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415, Reason.CONTENT_TYPE_NOT_JSON),
    ],
)
async def test_a_refusal_gives_the_reason_and_stores_no_event(
    gateway: Gateway, changes: dict[str, str], status: int, reason: Reason
) -> None:
    response = await gateway.post(succeeded(), **changes)
    problem = await problem_of(response, status)
    assert problem["reason"] == reason
    assert problem["traceId"] == response.headers["X-Trace-Id"]
    assert await gateway.rows("outbox") == []


@pytest.mark.parametrize(("age", "reason"), [(301, Reason.TIMESTAMP_TOO_OLD), (-302, Reason.TIMESTAMP_IN_FUTURE)])
async def test_a_signature_of_another_time_is_refused(gateway: Gateway, age: int, reason: Reason) -> None:
    response = await gateway.post(body := succeeded(), Stripe_Signature=sign(body, SECRET, time.time() - age))
    assert (await problem_of(response, 401))["reason"] == reason


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.BODY_NOT_JSON),
        (b"{not json", Reason.BODY_NOT_JSON),
        (b"[1,2]", Reason.EVENT_MALFORMED),
        (b'{"id":"evt_1"}', Reason.EVENT_MALFORMED),
    ],
)
async def test_a_signed_body_that_is_no_event_is_refused(gateway: Gateway, body: bytes, reason: Reason) -> None:
    assert (await problem_of(await gateway.post(body), 400))["reason"] == reason


async def test_a_body_that_is_not_utf8_is_refused(gateway: Gateway) -> None:
    headers = {"Stripe-Signature": f"t={int(time.time())},v1={'0' * 64}", "Content-Type": "application/json"}
    assert (await problem_of(await gateway.send(b"\xff\0", headers), 400))["reason"] == Reason.BODY_NOT_UTF8


async def test_a_body_of_the_greatest_size_is_taken_and_one_byte_more_is_not(start_gateway: StartGateway) -> None:
    body = succeeded()
    async with start_gateway(MAX_BODY_BYTES=str(len(body))) as gateway:
        assert (await gateway.post(body)).status == 200
        assert (await problem_of(await gateway.post(body + b" "), 413))["reason"] == Reason.BODY_TOO_LARGE


async def test_a_body_without_a_length_is_bounded_too(start_gateway: StartGateway) -> None:
    async def endless() -> Any:
        for _ in range(20):
            yield b"x" * 1000

    async with start_gateway(MAX_BODY_BYTES="5000") as gateway:
        headers = {"Stripe-Signature": "t=1,v1=0", "Content-Type": "application/json"}
        assert (await problem_of(await gateway.send(endless(), headers), 413))["reason"] == Reason.BODY_TOO_LARGE


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(start_gateway: StartGateway) -> None:
    async with start_gateway(BODY_TIMEOUT="50ms") as gateway:
        answer = await raw(
            gateway.public,
            b"POST /v1/webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        )
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"reason":"body_too_slow"' in answer


@pytest.mark.parametrize(
    ("request_text", "status", "reason"),
    [
        (b"nonsense\r\n\r\n", 400, Reason.REQUEST_MALFORMED),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n", 400, Reason.REQUEST_MALFORMED),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Nul: a\0b\r\n\r\n", 400, Reason.REQUEST_MALFORMED),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n", 417, Reason.EXPECT_HEADER_UNKNOWN),
        (b"GET /v1/webhooks/stripe HTTP/1.1\r\nHost: x\r\n\r\n", 405, Reason.METHOD_NOT_ALLOWED),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, Reason.NOT_FOUND),
    ],
)
async def test_a_refusal_of_the_server_itself_is_a_problem_document_too(
    gateway: Gateway, request_text: bytes, status: int, reason: Reason
) -> None:
    answer = await raw(gateway.public, request_text)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert b"application/problem+json" in head
    assert b"X-Trace-Id: " in head
    assert msgspec.json.decode(body)["reason"] == reason


async def raw(url: str, request_text: bytes) -> bytes:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request_text.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n"))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_trace_goes_on_or_starts_here(gateway: Gateway) -> None:
    continued = await gateway.post(succeeded(), traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    assert continued.headers["X-Trace-Id"] == TRACE
    begun = await gateway.post(succeeded(), traceparent="00-zz")
    assert begun.headers["X-Trace-Id"] == (await begun.json())["id"].replace("-", "")


async def test_without_postgres_nothing_is_acknowledged_and_it_recovers_by_itself(
    start_gateway: StartGateway, wire: Wire
) -> None:
    async with start_gateway(DATABASE_URL=wire.url) as gateway:
        assert (await gateway.post(succeeded(event_id="evt_1"))).status == 200
        wire.cut()
        refused = await gateway.post(succeeded(event_id="evt_2"))
        assert (await problem_of(refused, 503))["reason"] == Reason.POSTGRES_UNAVAILABLE
        assert int(refused.headers["Retry-After"]) > 0
        assert (await gateway.get("/health/ready")).status == 503
        assert (await gateway.get("/health/live")).status == 200
        wire.mend()
        await gateway.resources.intake.until_ready()
        assert (await gateway.get("/health/ready")).status == 200
        assert (await (await gateway.post(succeeded(event_id="evt_2"))).json())["duplicate"] is False
        assert len(await gateway.rows("outbox")) == 2


async def test_a_database_that_became_read_only_makes_it_unready_before_any_webhook(
    start_gateway: StartGateway, database_url: str
) -> None:
    name = sql.Identifier(database_url.rpartition("/")[2])
    ended = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tallyhook intake'"

    async def answers(status: int) -> bool | None:
        return True if (await gateway.get("/health/ready")).status == status else None

    async def tried_again() -> bool | None:
        return True if metrics.INTAKE_RECONNECTS._value.get() >= before + 6 else None  # each of the lanes more than once

    async with (
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
        start_gateway() as gateway,
    ):
        assert await answers(200)
        before = metrics.INTAKE_RECONNECTS._value.get()
        await connection.execute(sql.SQL("alter database {} set default_transaction_read_only = on").format(name))
        try:
            await connection.execute(ended)
            await eventually(tried_again, seconds=20)
            assert await answers(503)
        finally:
            await connection.execute(sql.SQL("alter database {} set default_transaction_read_only = off").format(name))
        await eventually(lambda: answers(200))
        assert (await gateway.post(succeeded())).status == 200


async def test_it_starts_without_postgres_and_serves_once_it_is_there(start_gateway: StartGateway, wire: Wire) -> None:
    wire.cut()
    async with start_gateway(ready=False, DATABASE_URL=wire.url) as gateway:
        assert (await gateway.post(succeeded())).status == 503
        wire.mend()
        await gateway.resources.intake.until_ready()
        assert (await gateway.post(succeeded())).status == 200
