"""Dead letters on real processes: found by API and command line, repaired, retried, and counted in the ledger throughout."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
from confluent_kafka import Producer

from tests.command import tallyhook_beside
from tests.e2e.test_partner_lead import lead_with
from tests.e2e.test_partner_lead import send as send_lead
from tests.e2e.test_stripe_payment import read_json, state_of
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.simulators.crm import status
from tests.simulators.partner import lead
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    import aiohttp

    from tests.simulators.crm import Crm
    from tests.system import System

# No row can meet this constraint: like a bug, until it is dropped as if the bug were fixed.
BREAK = "alter table payments add constraint broken check (id <> '{}') not valid"
MEND = "alter table payments drop constraint broken"


def change(system: System, statement: str) -> None:
    with psycopg.connect(system.database_url, autocommit=True) as connection:
        connection.execute(statement)


async def letter_of(http: aiohttp.ClientSession, system: System, event_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        page = await read_json(http, f"{system.internal}/v1/admin/dead-letters?status=open")
        assert page is not None
        return next((item for item in page["items"] if item.get("eventId") == event_id), None)

    return await eventually(look)


async def settled(http: aiohttp.ClientSession, system: System, state: str) -> set[str]:
    """The Stripe deliveries that the ledger counts under a state, by its own link."""
    found = await read_json(http, f"{system.internal}/v1/admin/ledger")
    assert found is not None
    assert found["balanced"], found
    source = next(source for source in found["sources"] if source["source"] == "stripe")
    page = await read_json(http, system.internal + source["links"][state] + "&limit=500")
    assert page is not None
    assert len(page["items"]) == source[state]
    return {item["id"] for item in page["items"]}


def foreign(system: System, value: bytes) -> str:
    """A record on our topic that no outbox of ours wrote; the id of its dead letter."""
    producer = Producer({"bootstrap.servers": system.kafka})
    producer.produce("webhooks.stripe", value, "foreign")
    producer.flush(20)
    query = "select id from dead_letters where value = %s"
    wait_until(lambda: system.query(query, value))
    return str(system.query(query, value)[0][0])


async def test_an_event_that_a_bug_set_aside_is_processed_once_the_bug_is_fixed(
    system: System, http: aiohttp.ClientSession
) -> None:
    payment = stripe.Payment(metadata={"user_id": "u-7"})
    change(system, BREAK.format(payment.id))
    answer = await post_stripe(http, system.public, payment.succeeded())
    event_id = (await answer.json())["id"]
    letter = await letter_of(http, system, event_id)
    assert (letter["reason"], letter["fault"], letter["consumer"]) == ("handler_failed", "ours", "payments")
    assert "CheckViolation" in letter["detail"]
    assert event_id in await settled(http, system, "deadLettered")

    listed = await tallyhook_beside(system.environment, "dead-letters", "list", "--reason", "handler_failed", "--json")
    assert letter["id"] in {item["id"] for item in json.loads(listed.stdout)["items"]}
    shown = await tallyhook_beside(system.environment, "dead-letters", "show", letter["id"])
    assert payment.id in shown.stdout

    change(system, MEND)
    retried = await tallyhook_beside(
        system.environment, "dead-letters", "retry", "--all", "--reason", "handler_failed", "--yes", "--json"
    )
    assert (retried.returncode, json.loads(retried.stdout)["failed"]) == (0, {}), retried.stderr
    await state_of(http, system, f"payments/{payment.id}", status="succeeded")
    assert event_id in await settled(http, system, "processed")
    assert event_id not in await settled(http, system, "deadLettered")
    assert system.count("consumed where event_id = %s and consumer = 'payments'", event_id) == 1
    retried_letter = await read_json(http, f"{system.internal}/v1/admin/dead-letters/{letter['id']}")
    assert retried_letter is not None
    assert (retried_letter["status"], "@" in retried_letter["settledBy"]) == ("retried", True)
    audited = system.query("select path from audit_log where method = 'CLI' order by id desc limit 1")
    assert audited == [(f"tallyhook dead-letters retry {letter['id']}",)]


async def test_a_foreign_record_is_given_up_for_good(system: System) -> None:
    letter = foreign(system, b"nobody knows me")
    given_up = await tallyhook_beside(system.environment, "dead-letters", "discard", letter, "--because", "a stranger wrote it")
    assert (given_up.returncode, given_up.stdout) == (0, "1 discarded\n"), given_up.stderr
    again = await tallyhook_beside(system.environment, "dead-letters", "retry", letter)
    assert again.returncode == 1
    assert "dead_letter_settled" in again.stderr
    assert "Traceback" not in again.stderr
    unsure = await tallyhook_beside(system.environment, "dead-letters", "retry", "--all", "--reason", "nothing_such")
    assert (unsure.returncode, unsure.stdout) == (0, "0 sent again\n")
    nothing = await tallyhook_beside(system.environment, "dead-letters", "discard", "--because", "no ids")
    assert (nothing.returncode, "name ids" in nothing.stderr) == (1, True)


async def test_a_lead_that_was_given_up_gets_all_of_its_attempts_again(
    system: System, http: aiohttp.ClientSession, crm: Crm
) -> None:
    lead_id = (await (await send_lead(http, system, "closed", lead("crm-letter", "closed"))).json())["id"]
    await lead_with(http, system, lead_id, "exhausted")
    letter = await letter_of(http, system, lead_id)
    assert (letter["kind"], letter["fault"], letter["reason"]) == ("lead", "theirs", "lead_delivery_exhausted")
    assert await read_json(http, system.internal + letter["lead"]) is not None

    crm.answers("/closed", status(503, "still"), status(503, "still"), status(204))
    try:
        assert (await tallyhook_beside(system.environment, "dead-letters", "retry", lead_id)).returncode == 0
        found = await lead_with(http, system, lead_id, "delivered")
    finally:
        crm.answers("/closed", status(503, "closed"))
    assert [attempt["status"] for attempt in found["attempts"]] == [503, 503, 503, 503, 503, 204]


async def test_the_ledger_is_printed_and_checked(system: System, http: aiohttp.ClientSession) -> None:
    await post_stripe(http, system.public, stripe.Payment().succeeded(), secret="wrong")
    printed = await tallyhook_beside(system.environment, "ledger", "--check")
    assert printed.returncode == 0, printed.stderr
    assert "balanced" in printed.stdout
    figures = json.loads((await tallyhook_beside(system.environment, "ledger", "--json")).stdout)
    for source in figures["sources"]:
        parts = ("rejected", "duplicates", "ignored", "processed", "inFlight", "deadLettered")
        assert source["received"] == sum(source[part] for part in parts)
    wrong = await tallyhook_beside(system.environment, "ledger", "--from", "yesterday")
    assert (wrong.returncode, "how long ago" in wrong.stderr) == (1, True)
