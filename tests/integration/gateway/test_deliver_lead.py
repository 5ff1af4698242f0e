"""`POST /internal/v1/leads/deliver`: what it accepts, refuses and stores; the test plays the worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest

from runtime.seals import new_key
from tests.gateways import ADMIN, SERVICE

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

LEAD = "019ab2f0-6c00-7abc-8def-0123456789ab"
COMMAND = {"leadId": LEAD, "partnerId": "acme", "attempt": 2, "metadata": {"by": "sales"}}


async def deliver(gateway: Gateway, body: Any = COMMAND, headers: dict[str, str] = SERVICE) -> tuple[int, dict[str, Any]]:
    response = await gateway.ask("/internal/v1/leads/deliver", body, headers)
    return response.status, await response.json(content_type=None)


@pytest.mark.parametrize("delivered", [True, False])
async def test_it_is_answered_with_how_the_attempt_went(gateway: Gateway, *, delivered: bool) -> None:
    asking = asyncio.create_task(deliver(gateway))
    event = await gateway.settle({"delivered": delivered, "attempt": 2})
    assert await asking == (200, {"delivered": delivered, "attempt": 2})
    assert (event["topic"], event["type"], event["aggregate_id"]) == ("lead.commands", "lead.deliver", LEAD)
    assert orjson.loads(event["data"]) == COMMAND


async def test_it_is_accepted_where_the_attempt_takes_longer_than_a_caller_waits(start_gateway: StartGateway) -> None:
    async with start_gateway(COMMAND_WAIT="50ms") as gateway:
        status, answer = await deliver(gateway)
        assert (status, answer["accepted"]) == (202, True)
        await gateway.settle({"delivered": True, "attempt": 2})
        task = await (await gateway.get(f"/internal/v1/tasks/{answer['taskId']}", SERVICE)).json()
        assert (task["status"], task["result"]) == ("done", {"delivered": True, "attempt": 2})


_OPEN = "insert into lead_breakers (partner, opened_at, probe_at, failures, error) values ('ACME', now(), now(), 10, 'timeout')"
_PAUSED = "insert into config (key, value, version) values ('partner.ACME.paused', 'true', 1)"


@pytest.mark.parametrize(("statement", "reason", "known"), [(_OPEN, "breaker_open", True), (_PAUSED, "partner_paused", False)])
async def test_the_answer_to_a_requested_delivery_has_the_reason_why_it_waits(
    start_gateway: StartGateway, database_url: str, statement: str, reason: str, *, known: bool
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(statement.encode())
    async with start_gateway(COMMAND_WAIT="50ms") as gateway:
        status, answer = await deliver(gateway)
        assert (status, answer["reason"], "until" in answer) == (202, reason, known)
        assert answer["detail"]
        assert "reason" not in (await deliver(gateway, COMMAND | {"partnerId": "other"}))[1]


@pytest.mark.parametrize(
    ("reason", "status", "word"),
    [
        ("lead_unknown", 404, "not_found"),
        ("lead_erased", 404, "not_found"),
        ("lead_of_another_partner", 422, "field_invalid"),
        ("handler_failed", 202, None),
    ],
)
async def test_a_failed_command_gives_the_reason(gateway: Gateway, reason: str, status: int, word: str | None) -> None:
    asking = asyncio.create_task(deliver(gateway))
    await gateway.settle(reason)
    answer = await asking
    assert (answer[0], answer[1].get("reason")) == (status, word)


@pytest.mark.parametrize(
    "change",
    [{"leadId": "crm-1"}, {"leadId": None}, {"partnerId": "../etc"}, {"attempt": 0}, {"attempt": 2**40}, {"metadata": []}],
)
async def test_a_body_that_is_no_command_is_refused(gateway: Gateway, change: dict[str, Any]) -> None:
    status, problem = await deliver(gateway, COMMAND | change)
    assert (status, problem["reason"]) == (422, "field_invalid")
    assert await gateway.rows("tasks") == []


async def test_it_needs_a_token(gateway: Gateway) -> None:
    assert (await deliver(gateway, headers={}))[0] == 401


@pytest.mark.parametrize(("value", "reason"), [("false", None), ("null", "partner_paused")])
async def test_a_value_of_the_configuration_overrides_the_terms(
    start_gateway: StartGateway, database_url: str, value: str, reason: str | None
) -> None:
    async with start_gateway(COMMAND_WAIT="50ms", SECRET_KEYS=new_key()) as gateway:
        await gateway.client.put(f"{gateway.internal}/v1/admin/partners/acme", json={"paused": True}, headers=ADMIN)
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            await connection.execute("insert into config (key, value, version) values ('partner.ACME.paused', %s, 1)", (value,))
        assert (await deliver(gateway))[1].get("reason") == reason
