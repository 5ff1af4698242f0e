"""Razorpay's deliveries, from the socket to the rows: what is taken, what is a copy, and every way in which it is refused."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from gateway.errors import Reason
from runtime.ids import new_id
from runtime.settings import Secret
from tests.simulators.razorpay import START, Payment, event, random_id, sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.gateways import Gateway, StartGateway

SECRET: Final = "razorpay-new"
OLD_SECRET: Final = "razorpay-old"


class Razorpay:
    """Sends to one gateway as Razorpay does."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.rows = gateway.rows

    async def post(
        self, body: bytes, event_id: str | None = "", *, secret: str = SECRET, **headers: str
    ) -> aiohttp.ClientResponse:
        """One delivery; `event_id` empty is a fresh one, None sends none. Headers named with underscores replace or add."""
        sent = {"X-Razorpay-Signature": sign(body, secret), "Content-Type": "application/json"}
        if event_id is not None:
            sent["X-Razorpay-Event-Id"] = event_id or random_id("")
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self._gateway.client.post(f"{self._gateway.public}/v1/webhooks/razorpay", data=body, headers=sent)
        await response.read()
        return response


@pytest.fixture
async def razorpay(start_gateway: StartGateway) -> AsyncIterator[Razorpay]:
    async with start_gateway(RAZORPAY_WEBHOOK_SECRET=f"{SECRET},{OLD_SECRET}") as gateway:
        yield Razorpay(gateway)


async def problem_of(response: aiohttp.ClientResponse, status: int) -> Any:
    assert response.status == status
    assert response.content_type == "application/problem+json"
    return await response.json(content_type=None)


async def test_an_event_is_committed_before_it_is_acknowledged(razorpay: Razorpay) -> None:
    body = Payment(id="pay_1").captured()
    answer = await (await razorpay.post(body, "evt_1")).json()
    assert answer == {"received": True, "id": answer["id"], "duplicate": False}
    [stored] = await razorpay.rows("outbox")
    assert (str(stored["id"]), stored["data"], stored["topic"]) == (answer["id"], body, "webhooks.razorpay")
    assert (stored["aggregate_id"], stored["type"]) == ("pay_1", "com.razorpay.payment.captured")
    assert len(await razorpay.rows("outbox_pending")) == 1
    [kept] = await razorpay.rows("dedup")
    assert (kept["source"], kept["digest"]) == ("razorpay", hashlib.sha256(body).digest())
    [delivery] = await razorpay.rows("webhook_deliveries")
    assert delivery["provider_event_id"] == "evt_1"


async def test_old_and_new_secret_are_both_accepted_and_each_use_is_recorded(razorpay: Razorpay) -> None:
    assert (await razorpay.post(Payment().captured())).status == 200
    assert (await razorpay.post(Payment().captured(), secret=OLD_SECRET)).status == 200
    noted = {row["secret_id"] for row in await razorpay.rows("webhook_deliveries")}
    assert noted == {Secret(SECRET).id, Secret(OLD_SECRET).id}


async def test_the_same_body_under_another_id_is_a_duplicate(razorpay: Razorpay) -> None:
    body = Payment().captured()
    first = await (await razorpay.post(body, "evt_1")).json()
    again = await (await razorpay.post(body, "evt_2")).json()
    assert again == {"received": True, "id": first["id"], "duplicate": True}
    assert len(await razorpay.rows("outbox")) == 1
    outcomes = sorted((row["outcome"], row["provider_event_id"]) for row in await razorpay.rows("webhook_deliveries"))
    assert outcomes == [("accepted", "evt_1"), ("duplicate", "evt_2")]


async def test_the_same_id_with_another_signed_body_is_another_event(razorpay: Razorpay) -> None:
    bodies = [Payment(id="pay_1").failed(), Payment(id="pay_1").captured()]
    answers = [await (await razorpay.post(body, "evt_1")).json() for body in bodies]
    assert [answer["duplicate"] for answer in answers] == [False, False]
    assert [row["data"] for row in sorted(await razorpay.rows("outbox"), key=lambda row: row["id"])] == bodies
    again = [await (await razorpay.post(body, "evt_1")).json() for body in bodies]
    assert again == [{**answer, "duplicate": True} for answer in answers]


async def test_an_event_that_was_recorded_under_its_id_is_still_known_by_its_body(razorpay: Razorpay, database_url: str) -> None:
    body, original = Payment().captured(), new_id()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(
            "insert into dedup (source, provider_event_id, event_id, digest) values ('razorpay', 'evt_1', %s, %s)",
            (original, hashlib.sha256(body).digest()),
        )
    assert await (await razorpay.post(body, "evt_1")).json() == {"received": True, "id": str(original), "duplicate": True}


async def test_fifty_copies_at_once_under_as_many_ids_are_one_event(razorpay: Razorpay) -> None:
    body = Payment().captured()
    responses = await asyncio.gather(*(razorpay.post(body) for _ in range(50)))
    answers = [await response.json() for response in responses]
    assert {response.status for response in responses} == {200}
    assert len({answer["id"] for answer in answers}) == 1
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 49
    assert len(await razorpay.rows("outbox")) == 1


async def test_without_an_id_a_delivery_is_known_by_its_body(razorpay: Razorpay) -> None:
    body = Payment().captured()
    answers = [await (await razorpay.post(body, None)).json() for _ in range(2)]
    assert [answer["duplicate"] for answer in answers] == [False, True]
    assert [row["provider_event_id"] for row in await razorpay.rows("dedup")] == [hashlib.sha256(body).hexdigest()]


async def test_a_type_without_a_handler_is_stored_and_goes_nowhere(razorpay: Razorpay) -> None:
    body = event("order.paid", START, order={"id": "order_1"})
    answer = await (await razorpay.post(body)).json()
    assert answer == {"received": True, "id": answer["id"], "duplicate": False, "ignored": True, "reason": "type_not_handled"}
    assert [row["data"] for row in await razorpay.rows("outbox")] == [body]
    assert await razorpay.rows("outbox_pending") == []


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"X_Razorpay_Signature": ""}, 401, Reason.SIGNATURE_MISSING),
        ({"X_Razorpay_Signature": "nonsense"}, 400, Reason.SIGNATURE_MALFORMED),
        ({"secret": "a-strange-one"}, 401, Reason.SIGNATURE_WRONG),
        ({"event_id": "two words"}, 400, Reason.EVENT_MALFORMED),
        ({"Content_Type": "text/plain"}, 415, Reason.CONTENT_TYPE_NOT_JSON),
        ({"body": b"{not json"}, 400, Reason.BODY_NOT_JSON),
        ({"body": b'"\xff"'}, 400, Reason.BODY_NOT_UTF8),
        ({"body": b"[1,2]"}, 400, Reason.EVENT_MALFORMED),
        ({"body": Payment(id="pay_\0").captured()}, 400, Reason.EVENT_UNSTORABLE),
        ({"body": b"x" * 262_145}, 413, Reason.BODY_TOO_LARGE),
    ],
)
async def test_a_refusal_gives_the_reason_and_stores_no_event(
    razorpay: Razorpay, changes: dict[str, Any], status: int, reason: Reason
) -> None:
    response = await razorpay.post(**{"body": Payment().captured()} | changes)
    assert (await problem_of(response, status))["reason"] == reason
    assert await razorpay.rows("outbox") == []


async def test_a_rejected_delivery_is_kept_with_the_proof_of_its_origin(
    start_gateway: StartGateway,
) -> None:
    async with start_gateway(RAZORPAY_WEBHOOK_SECRET=SECRET) as gateway:
        razorpay, body = Razorpay(gateway), Payment().captured()
        await razorpay.post(body, "evt_1", secret=OLD_SECRET)
        await gateway.resources.rejections.flush()
        [kept] = await razorpay.rows("webhook_deliveries")
    assert (kept["source"], kept["outcome"], kept["reason"]) == ("razorpay", "rejected", "signature_wrong")
    assert kept["body"] == body
    assert kept["headers"]["X-Razorpay-Event-Id"] == "evt_1"
    assert kept["headers"]["X-Razorpay-Signature"] == sign(body, OLD_SECRET)


async def test_without_a_secret_there_is_no_such_route(gateway: Gateway) -> None:
    response = await Razorpay(gateway).post(Payment().captured())
    assert (await problem_of(response, 404))["reason"] == Reason.NOT_FOUND
