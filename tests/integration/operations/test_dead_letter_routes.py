"""Dead letters on the internal listener."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from runtime.ids import new_id
from runtime.tracing import new_trace
from tests.gateways import ADMIN, SERVICE

if TYPE_CHECKING:
    from tests.gateways import Gateway

LETTERS = "/v1/admin/dead-letters"
BECAUSE = {"reason": "a test record"}


async def found(gateway: Gateway, path: str) -> Any:
    response = await gateway.get(path)
    assert response.status == 200, await response.text()
    return await response.json()


def set_aside(url: str, reason: str = "handler_failed", *, offset: int = 0) -> str:
    letter_id = new_id()
    with psycopg.connect(url) as connection:
        connection.execute(
            """insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", key, value, headers)
               values (%s, 'payments', %s, 'as told', 'webhooks.stripe', 3, %s, 'pi_1', %s, %s)""",
            (letter_id, reason, offset, b"not \xff text", Jsonb([("ce_id", b64encode(b"1").decode()), ("none", None)])),
        )
    return str(letter_id)


async def test_a_letter_shows_whose_fault_it_is_and_where_to_read_on(gateway: Gateway, database_url: str) -> None:
    ours, theirs = set_aside(database_url), set_aside(database_url, "event_malformed", offset=1)
    assert [(item["id"], item["fault"], item["runbook"]) for item in (await found(gateway, LETTERS))["items"]] == [
        (theirs, "theirs", "runbooks/dead-letters.md"),
        (ours, "ours", "runbooks/dead-letters.md"),
    ]
    letter = await found(gateway, f"{LETTERS}/{ours}")
    assert (letter["topic"], letter["partition"], letter["offset"], letter["status"]) == ("webhooks.stripe", 3, 0, "open")
    assert (letter["keyText"], letter["excerpt"]) == ("pi_1", "not \ufffd text")
    assert (letter["value"], letter["headers"]) == (b64encode(b"not \xff text").decode(), [["ce_id", "MQ=="], ["none", None]])


async def test_pages_follow_each_other(gateway: Gateway, database_url: str) -> None:
    ids = [set_aside(database_url, offset=n) for n in range(5)]
    seen, path = [], f"{LETTERS}?limit=2&status=open&consumer=payments&topic=webhooks.stripe&fault=ours"
    page = await found(gateway, path)
    while True:
        seen += [item["id"] for item in page["items"]]
        if "next" not in page:
            break
        page = await found(gateway, f"{path}&cursor={page['next']}")
    assert seen == ids[::-1]


@pytest.mark.parametrize("query", ["status=closed", "fault=nobody", "unknown=1", "cursor=x", "limit=0", "from=now"])
async def test_a_query_that_makes_no_sense_is_refused(gateway: Gateway, query: str) -> None:
    response = await gateway.get(f"{LETTERS}?{query}")
    assert (response.status, (await response.json())["reason"]) == (400, "query_malformed")


async def test_a_letter_is_retried_once(gateway: Gateway, database_url: str) -> None:
    letter = set_aside(database_url)
    answer = await gateway.ask(f"{LETTERS}/{letter}/retry")
    assert (answer.status, await answer.json()) == (202, {"id": letter, "sentAs": "record", "status": "retried"})
    assert len(await gateway.rows("outbox_pending")) == 1
    again = await gateway.ask(f"{LETTERS}/{letter}/retry")
    assert (again.status, (await again.json())["reason"]) == (409, "dead_letter_settled")
    settled = await found(gateway, f"{LETTERS}/{letter}")
    assert (settled["status"], len(settled["settledBy"])) == ("retried", 8)
    assert (await gateway.ask(f"{LETTERS}/{letter}/discard", BECAUSE)).status == 409


async def test_a_letter_is_discarded_with_a_reason_and_for_good(gateway: Gateway, database_url: str) -> None:
    letter = set_aside(database_url)
    for body in ({}, {"reason": ""}, {"reason": " "}, {"reason": "a\0b"}):
        assert (await gateway.ask(f"{LETTERS}/{letter}/discard", body)).status == 422
    assert (await gateway.ask(f"{LETTERS}/{letter}/discard", BECAUSE)).status == 200
    assert (await found(gateway, f"{LETTERS}/{letter}"))["discardReason"] == "a test record"
    assert (await gateway.ask(f"{LETTERS}/{letter}/retry")).status == 409
    assert await gateway.rows("outbox_pending") == []


async def test_only_operators_see_them_and_a_missing_one_is_not_found(gateway: Gateway) -> None:
    assert (await gateway.get(LETTERS, SERVICE)).status == 403
    for path in ("", "/retry"):
        request = gateway.get if not path else gateway.ask
        assert (await request(f"{LETTERS}/{new_id()}{path}")).status == 404


async def test_the_same_call_under_a_key_is_answered_alike(gateway: Gateway, database_url: str) -> None:
    letter = set_aside(database_url)
    key = {"Idempotency-Key": "once"}
    answers = [await (await gateway.ask(f"{LETTERS}/{letter}/retry", headers=ADMIN | key)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(await gateway.rows("outbox_pending")) == 1


async def repeated(gateway: Gateway, database_url: str, path: str, body: Any = None) -> list[tuple[int, Any]]:
    """Call twice under one key; the first answer is lost, as it is if Postgres goes away after the commit."""
    answers = []
    for _ in range(2):
        response = await gateway.ask(path, body, headers=ADMIN | {"Idempotency-Key": "once"})
        answers.append((response.status, await response.json()))
        lose_answers(database_url)
    return answers


def lose_answers(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "update idempotency_keys set status = null, body = null, content_type = null, claimed_until = '-infinity'"
        )


def give_up(url: str) -> str:
    """A lead that its partner did not take."""
    lead_id = new_id()
    with psycopg.connect(url) as connection:
        connection.execute(
            """insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at,
                                  updated_at, version, attempts, failures)
               values (%s, 'ACME', 'acme', 'a', 'exhausted', '{}', %s, now(), now(), 4, 3, 3)""",
            (lead_id, new_trace().traceparent),
        )
    return str(lead_id)


async def test_a_retry_whose_answer_was_lost_is_answered_again_and_sent_once(gateway: Gateway, database_url: str) -> None:
    letter = set_aside(database_url)
    answers = await repeated(gateway, database_url, f"{LETTERS}/{letter}/retry")
    assert answers == [(202, {"id": letter, "sentAs": "record", "status": "retried"})] * 2
    assert len(await gateway.rows("outbox_pending")) == 1


@pytest.mark.parametrize("meanwhile", ["exhausted", "delivered"])
async def test_a_retry_of_a_lead_whose_answer_was_lost_is_one_command(
    gateway: Gateway, database_url: str, meanwhile: str
) -> None:
    path, headers = f"{LETTERS}/{give_up(database_url)}/retry", ADMIN | {"Idempotency-Key": "once"}
    first = await gateway.ask(path, headers=headers)
    lose_answers(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("update leads set status = %s", (meanwhile,))
    second = await gateway.ask(path, headers=headers)
    assert (first.status, second.status) == (202, 202)
    assert await first.json() == await second.json()
    [command] = await gateway.rows("outbox")
    assert (command["type"], str(command["id"])) == ("lead.deliver", (await second.json())["taskId"])


@pytest.mark.parametrize("kind", [set_aside, give_up])
async def test_a_discard_whose_answer_was_lost_is_answered_again(gateway: Gateway, database_url: str, kind: Any) -> None:
    letter = kind(database_url)
    answers = await repeated(gateway, database_url, f"{LETTERS}/{letter}/discard", BECAUSE)
    assert answers == [(200, {"id": letter, "status": "discarded"})] * 2
    assert (await gateway.ask(f"{LETTERS}/{letter}/discard", BECAUSE)).status == 409
