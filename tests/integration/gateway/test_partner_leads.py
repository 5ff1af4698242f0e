"""A partner's lead, from the socket to the rows: what is taken, and every way in which it is refused."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from runtime.settings import Secret
from tests.simulators.partner import lead, sign, sign_body
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.gateways import Gateway, StartGateway, Wire

SETTINGS = {"PARTNER_ACME_SECRET": "new,old", "PARTNER_ACME_TOKEN": "token", "PARTNER_OTHER_CO_SECRET": "other"}


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[Gateway]:
    async with start_gateway(**SETTINGS) as running:
        yield running


async def send(gateway: Gateway, body: bytes, **headers: str) -> aiohttp.ClientResponse:
    """Send a lead that is signed now by the newest secret, unless the headers replace that."""
    sent = {"Content-Type": "application/json", "X-Partner-Signature": sign(body, "new", time.time())}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    response = await gateway.client.post(
        f"{gateway.public}/v1/webhooks/partner/leads", data=body, headers={k: v for k, v in sent.items() if v}
    )
    await response.read()
    return response


async def reason_of(response: aiohttp.ClientResponse, status: int) -> Any:
    assert response.status == status, await response.text()
    assert response.content_type == "application/problem+json"
    return (await response.json(content_type=None))["reason"]


async def test_a_lead_is_committed_with_its_event_before_it_is_accepted(gateway: Gateway) -> None:
    body = lead("crm-1", name="Ada")
    response = await send(gateway, body)
    answer = await response.json()
    assert (response.status, answer) == (202, {"id": answer["id"], "accepted": True})
    [event] = await gateway.rows("outbox")
    assert (str(event["id"]), event["aggregate_id"]) == (answer["id"], answer["id"])
    assert (event["topic"], event["type"], event["data"]) == ("lead.partner.events", "lead.partner.received", body)
    assert [row["event_id"] for row in await gateway.rows("outbox_pending")] == [event["id"]]
    [delivery] = await gateway.rows("webhook_deliveries")
    assert (delivery["source"], delivery["outcome"], delivery["secret_id"]) == ("partner", "accepted", Secret("new").id)


@pytest.mark.parametrize("proof", ["old", "body", "token"])
async def test_each_way_of_proving_it_is_taken(gateway: Gateway, proof: str) -> None:
    body = lead()
    headers = {
        "old": {"X_Partner_Signature": sign(body, "old", time.time())},
        "body": {"X_Partner_Signature": sign_body(body, "new")},
        "token": {"X_Partner_Signature": "", "Authorization": "Bearer token"},
    }
    assert (await send(gateway, body, **headers[proof])).status == 202


async def test_the_same_lead_again_has_the_same_id(gateway: Gateway) -> None:
    first = await (await send(gateway, lead(name="Ada"))).json()
    again = await send(gateway, lead(name="Ada Lovelace"))
    assert (again.status, await again.json()) == (200, first)
    assert len(await gateway.rows("outbox")) == 1


async def test_ten_copies_at_once_are_one_lead(gateway: Gateway) -> None:
    responses = await asyncio.gather(*(send(gateway, lead()) for _ in range(10)))
    assert sorted(response.status for response in responses) == [200] * 9 + [202]
    assert len({(await response.json())["id"] for response in responses}) == 1
    assert len(await gateway.rows("outbox")) == 1


async def test_two_partners_may_use_one_external_id(gateway: Gateway) -> None:
    mine, theirs = lead("1", "acme"), lead("1", "other.co")
    answers = [await send(gateway, mine), await send(gateway, theirs, X_Partner_Signature=sign(theirs, "other", time.time()))]
    assert [response.status for response in answers] == [202, 202]


async def test_an_idempotency_key_stays_with_its_body(gateway: Gateway) -> None:
    first = await send(gateway, lead("1"), Idempotency_Key="k-1")
    again = await send(gateway, lead("1"), Idempotency_Key="k-1")
    assert (first.status, again.status) == (202, 200)
    assert await first.json() == await again.json()
    assert await reason_of(await send(gateway, lead("2"), Idempotency_Key="k-1"), 409) == "idempotency_key_reused"
    assert await reason_of(await send(gateway, lead("1", name="Bob"), Idempotency_Key="k-1"), 409) == "idempotency_key_reused"
    assert (await send(gateway, lead("2"), Idempotency_Key="k-2")).status == 202
    assert len(await gateway.rows("outbox")) == 2


async def test_keys_of_two_partners_are_apart(gateway: Gateway) -> None:
    theirs = lead("1", "other-co")
    assert (await send(gateway, lead("1"), Idempotency_Key="k")).status == 202
    signature = sign(theirs, "other", time.time())
    assert (await send(gateway, theirs, Idempotency_Key="k", X_Partner_Signature=signature)).status == 202


async def test_a_stranger_binds_no_key(gateway: Gateway) -> None:
    assert (await send(gateway, lead(), Idempotency_Key="k", X_Partner_Signature="sha256=00")).status == 401
    assert await gateway.rows("lead_keys") == []


@pytest.mark.parametrize("key", ["k" * 256, "Zoë"])
async def test_an_odd_key_is_refused(gateway: Gateway, key: str) -> None:
    assert await reason_of(await send(gateway, lead(), Idempotency_Key=key), 400) == "request_malformed"


async def test_two_keys_of_one_lead_are_refused(gateway: Gateway) -> None:
    body = lead()
    headers = [("Content-Type", "application/json"), ("X-Partner-Signature", sign(body, "new", time.time()))]
    headers += [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    async with gateway.client.post(f"{gateway.public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer:
        assert await reason_of(answer, 400) == "request_malformed"
    assert await gateway.rows("outbox") == []


@pytest.mark.parametrize(
    "body",
    [
        lead(""),
        lead("x" * 256),
        lead("a\0b"),
        lead("a\nb"),
        b'{"partnerId":"acme","externalLeadId":"1"}',
        b'{"partnerId":"acme","externalLeadId":"1","payload":[]}',
        b'{"partnerId":"acme","externalLeadId":7,"payload":{}}',
        b'{"partnerId":"acme","externalLeadId":"1","payload":' + b'{"a":' * 3000 + b"1" + b"}" * 3001,
    ],
)
async def test_a_body_that_is_no_lead_is_refused(gateway: Gateway, body: bytes) -> None:
    assert await reason_of(await send(gateway, body), 400) in ("event_malformed", "body_not_json")
    assert await gateway.rows("outbox") == []


async def test_a_lead_that_is_not_utf8_is_refused_wherever_its_byte_is(gateway: Gateway) -> None:
    body = b'{"partnerId":"acme","externalLeadId":"1","payload":{},"note":"caf\xe9"}'
    assert await reason_of(await send(gateway, body), 400) == "body_not_utf8"
    assert await gateway.rows("outbox") == []


async def test_an_unknown_partner_gets_the_answer_of_a_wrong_signature(gateway: Gateway) -> None:
    unknown = await send(gateway, lead(partner="nobody"))
    wrong = await send(gateway, lead(), X_Partner_Signature=sign(lead(), "guessed", time.time()))
    problems = [await response.json(content_type=None) for response in (unknown, wrong)]
    assert [response.status for response in (unknown, wrong)] == [401, 401]
    assert {**problems[0], "traceId": ""} == {**problems[1], "traceId": ""}


async def test_an_old_signature_is_refused(gateway: Gateway) -> None:
    response = await send(gateway, lead(), X_Partner_Signature=sign(lead(), "new", time.time() - 301))
    assert await reason_of(response, 401) == "timestamp_too_old"


async def test_other_media_types_and_larger_bodies_are_refused(gateway: Gateway) -> None:
    assert await reason_of(await send(gateway, lead(), Content_Type="text/plain"), 415) == "content_type_not_json"
    assert await reason_of(await send(gateway, lead(notes="x" * 300_000)), 413) == "body_too_large"


async def test_without_postgres_a_lead_is_refused_and_may_come_again(start_gateway: StartGateway, wire: Wire) -> None:
    async with start_gateway(DATABASE_URL=wire.url, **SETTINGS) as gateway:
        wire.cut()
        response = await send(gateway, lead(), Idempotency_Key="k")
        assert await reason_of(response, 503) == "postgres_unavailable"
        assert response.headers["Retry-After"]
        wire.mend()

        async def sent_again() -> int | None:
            """Retry while the answer is 503: another connection of the gateway may not have noticed the cut yet."""
            status = (await send(gateway, lead(), Idempotency_Key="k")).status
            return None if status == 503 else status

        assert await eventually(sent_again) == 202


async def test_a_lead_that_was_never_sent_is_not_found(gateway: Gateway) -> None:
    for lead_id in ("019ab2f0-6c00-7abc-8def-0123456789ab", "nonsense"):
        assert (await gateway.get(f"/v1/admin/leads/{lead_id}")).status == 404
