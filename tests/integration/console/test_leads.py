"""Leads in the console: found by partner and state, viewed with their attempts, and delivered now."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from tests.console import READER, assert_sound, signed_in, visitor
from tests.integration.console.leads_in import attempt_in, breaker_in, lead_in

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

SCRIPT = "<script>document.title='got in'</script>"


async def test_they_are_sound_empty_and_full(gateway: Gateway, database_url: str) -> None:
    await assert_sound(gateway, "/console/leads")
    lead = lead_in(database_url, external="x" * 200)
    attempt_in(database_url, lead, 1, "http_500", "y" * 200)
    attempt_in(database_url, lead, 2)
    lead_in(database_url, "delivered")
    for path in ("/console/leads", f"/console/leads/{lead}"):
        await assert_sound(gateway, path)


async def test_a_person_finds_a_lead_of_a_partner_and_has_it_delivered(gateway: Gateway, database_url: str) -> None:
    lead = lead_in(database_url, "exhausted")
    lead_in(database_url, "delivered", external="crm-2")
    attempt_in(database_url, lead, 1, "http_500", "out of order")
    async with signed_in(gateway, "/console/leads") as looked:
        await looked.page.get_by_label("State").select_option("exhausted")
        await looked.page.get_by_role("button", name="Show").click()
        await looked.page.wait_for_url("**status=exhausted**")
        assert await looked.page.locator("tbody tr").count() == 1
        await looked.page.locator("tbody th a").click()
        assert await looked.page.get_by_text("out of order").is_visible()
        await looked.page.get_by_text("Payload").click()
        assert '"name": "Ada"' in await looked.page.get_by_label("Body", exact=True).inner_text()
        await looked.page.get_by_text("Deliver now…").click()
        await looked.page.get_by_role("button", name="Deliver it now").click()
        command = await gateway.settle({"delivered": True, "attempt": 2})
        await looked.page.get_by_text("The CRM has accepted it").wait_for()
        assert looked.faults == []
    assert (command["type"], command["aggregate_id"], str(lead) in bytes(command["data"]).decode()) == (
        "lead.deliver",
        str(lead),
        True,
    )
    await gateway.resources.audit.flush()
    calls = [(row["path"], row["role"]) for row in await gateway.rows("audit_log") if row["method"] == "POST"]
    assert ("/console/leads/{id}/deliver", "admin") in calls


async def test_a_delivery_that_waits_shows_for_what(start_gateway: StartGateway, database_url: str) -> None:
    lead = lead_in(database_url)
    async with start_gateway(COMMAND_WAIT="50ms") as gateway:
        operator = await visitor(gateway, database_url)
        alone = (await operator.post(f"/console/leads/{lead}/deliver")).text
        breaker_in(database_url)
        held = (await operator.post(f"/console/leads/{lead}/deliver")).text
    assert ("Kafka does not answer" in alone, "failed 7 times in a row" in held) == (True, True)


async def test_a_lead_without_attempts_and_a_delivered_one_are_shown_as_such(gateway: Gateway, database_url: str) -> None:
    fresh, done = lead_in(database_url, "received"), lead_in(database_url, "delivered")
    operator = await visitor(gateway, database_url)
    texts = [(await operator.get(f"/console/leads/{lead}")).text for lead in (fresh, done)]
    assert ("No attempt has been made" in texts[0], "Deliver now…" in texts[0], "Deliver now…" in texts[1]) == (True, True, False)


async def test_older_ones_are_on_the_next_page(gateway: Gateway, database_url: str) -> None:
    for _ in range(3):
        lead_in(database_url)
    operator = await visitor(gateway, database_url)
    first = (await operator.get("/console/leads?limit=2&partner=acme")).text
    following = html.unescape(re.findall(r'href="(/console/leads\?[^"]*cursor=[^"]*)"', first)[0])
    second = (await operator.get(following)).text
    assert (first.count("<tr><th scope"), second.count("<tr><th scope"), "Older ones" in second) == (2, 1, False)


@pytest.mark.parametrize("query", ["status=odd", "partner=a/b", "from=yesterday", "cursor=%C3%A4"])
async def test_an_invalid_filter_is_reported_on_the_page(gateway: Gateway, database_url: str, query: str) -> None:
    answer = await (await visitor(gateway, database_url)).get(f"/console/leads?{query}")
    assert (answer.status, '<p class="alarm" role="alert">' in answer.text) == (400, True)


async def test_input_of_strangers_is_shown_as_text_and_readers_see_neither_payload_nor_answers(
    start_gateway: StartGateway, database_url: str
) -> None:
    lead = lead_in(database_url, external=f"crm{SCRIPT}", payload=f'{{"name": "{SCRIPT}"}}'.encode())
    attempt_in(database_url, lead, 1, "http_500", f"no{SCRIPT}")
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        async with signed_in(gateway, f"/console/leads/{lead}") as looked:
            await looked.page.get_by_text("Payload").click()
            await looked.page.get_by_label("Body", exact=True).wait_for()
            assert (await looked.page.inner_text("body")).count(SCRIPT) == 2
            await looked.page.goto(f"{gateway.internal}/console/leads")
            assert ("got in" in await looked.page.title(), looked.faults) == (False, [])
        reader = await visitor(gateway, database_url, role="reader")
        shown, payload = [(await reader.get(f"/console/leads/{lead}{path}")).text for path in ("", "/payload")]
        assert ("no&lt;script" in shown, "Deliver now…" in shown, "got in" in payload) == (False, False, False)
