"""Partners in the console: their figures, and their leads paused, resumed and tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from runtime.seals import new_key
from tests.console import READER, assert_sound, signed_in, visitor
from tests.gateways import ADMIN
from tests.integration.console.leads_in import attempt_in, breaker_in, lead_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateways import Gateway, StartGateway

SETTINGS = {"SECRET_KEYS": new_key(), "PARTNER_ACME_SECRET": "acme-secret"}
ACME = "/console/partners/ACME"


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[Gateway]:
    async with start_gateway(**SETTINGS) as running:
        yield running


async def put(gateway: Gateway, partner: str, **terms: object) -> None:
    answer = await gateway.client.put(f"{gateway.internal}/v1/admin/partners/{partner}", json=terms, headers=ADMIN)
    assert answer.status in {200, 201}, await answer.text()


async def test_they_are_sound_empty_and_full(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway() as bare:
        await assert_sound(bare, "/console/partners")
    async with start_gateway(**SETTINGS) as gateway:
        await assert_sound(gateway, ACME)
        lead = lead_in(database_url, external="x" * 200)
        attempt_in(database_url, lead, 1, "http_500", "down")
        attempt_in(database_url, lead, 2)
        breaker_in(database_url)
        for path in ("/console/partners", ACME):
            await assert_sound(gateway, path)


async def test_a_partner_has_its_health_of_the_last_hour_and_the_reason_of_a_delay(gateway: Gateway, database_url: str) -> None:
    lead = lead_in(database_url)
    for number, error in enumerate(("http_500", None, None, None), 1):
        attempt_in(database_url, lead, number, error)
    breaker_in(database_url)
    operator = await visitor(gateway, database_url)
    for path in ("/console/partners", ACME):
        text = (await operator.get(path)).text
        assert ("75.0 %" in text, "250 ms" in text, "not called" in text) == (True, True, True), path
    attempts = (await operator.get(f"{ACME}/attempts")).text
    assert ("3 attempts were accepted and 1 failed" in attempts, "data-chart" in attempts) == (True, True)


@pytest.mark.parametrize(("partner", "by"), [("ACME", "partner.ACME.paused in the runtime"), ("OWN", "paused in its terms")])
async def test_a_person_pauses_a_partner_and_resumes_it(gateway: Gateway, database_url: str, partner: str, by: str) -> None:
    await put(gateway, "own")
    lead_in(database_url, partner=partner)
    async with signed_in(gateway, f"/console/partners/{partner}") as looked:
        await looked.page.get_by_text("Pause…").click()
        assert await looked.page.get_by_text("1 wait now").is_visible()
        await looked.page.get_by_role("button", name=f"Pause {partner}").click()
        await looked.page.get_by_role("heading", name="Its leads are held back").wait_for()
        assert by in await looked.page.locator(".verdict").inner_text()
        await looked.page.get_by_text("Resume…").click()
        await looked.page.get_by_role("button", name=f"Resume {partner}").click()
        await looked.page.get_by_role("heading", name="Its leads are delivered").wait_for()
        assert looked.faults == []
    await gateway.resources.audit.flush()
    calls = [
        (row["path"], row["status"]) for row in await gateway.rows("audit_log") if row["path"].startswith("/console/partners")
    ]
    assert calls == [(f"/console/partners/{{id}}/{verb}", 200) for verb in ("pause", "resume")]


async def test_a_pause_in_the_terms_is_found_by_its_state(gateway: Gateway, database_url: str) -> None:
    await put(gateway, "own", paused=True)
    operator = await visitor(gateway, database_url)
    shown = {state: (await operator.get(f"/console/partners?state={state}")).text for state in ("paused", "failing")}
    assert ["/console/partners/OWN" in text for text in shown.values()] == [True, False]


async def test_a_person_requests_a_probe_and_sees_that_no_worker_makes_it(gateway: Gateway, database_url: str) -> None:
    lead_in(database_url)
    breaker_in(database_url)
    async with signed_in(gateway, ACME) as looked:
        await looked.page.get_by_text("Probe now…").click()
        await looked.page.get_by_role("button", name="Probe the CRM of ACME").click()
        await looked.page.get_by_text("no leads worker has made it yet").wait_for()
        assert looked.faults == []
    [breaker] = await gateway.rows("lead_breakers")
    assert breaker["asked_at"]


async def test_a_paused_partner_is_not_probed(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    await operator.post(f"{ACME}/pause")
    assert (await operator.post(f"{ACME}/probe")).status == 200
    assert await gateway.rows("lead_breakers") == []


async def test_leads_that_are_due_and_not_tried_are_shown(gateway: Gateway, database_url: str) -> None:
    lead = lead_in(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("update leads set next_attempt_at = now() - interval '5 minutes' where id = %s", (lead,))
    operator = await visitor(gateway, database_url)
    assert "due but not tried" in (await operator.get(ACME)).text


async def test_partners_are_on_pages_and_an_unknown_one_is_not_there(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.screens.partners._SHOWN", 2)
    for name in ("b", "c", "d"):
        await put(gateway, name)
    operator = await visitor(gateway, database_url)
    first, second = [(await operator.get(f"/console/partners{query}")).text for query in ("", "?cursor=B")]
    shown = [[key for key in ("ACME", "B", "C", "D") if f'/console/partners/{key}"' in text] for text in (first, second)]
    assert (shown, "cursor=B" in first, "cursor=" in second) == ([["ACME", "B"], ["C", "D"]], True, False)
    for path in ("/console/partners/NOBODY", "/console/partners/a%20b", "/console/partners/NOBODY/state"):
        assert (await operator.get(path)).status == 404
    assert (await operator.post("/console/partners/NOBODY/pause")).status == 404
    assert (await operator.get("/console/partners?state=odd")).status == 400


async def test_a_session_that_reads_is_offered_no_change(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(READ_API_TOKEN=READER, **SETTINGS) as gateway:
        reader = await visitor(gateway, database_url, role="reader")
        text = (await reader.get(ACME)).text
        assert "Nothing waits" in text
        assert [word in text for word in ("Pause…", "Probe now…", "Resume…")] == [False] * 3


async def test_the_newest_attempts_make_the_health(gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operations.partners.health.COUNTED_MAX", 2)
    lead = lead_in(database_url)
    for number, error in enumerate(("http_500", "http_500", None, None), 1):
        attempt_in(database_url, lead, number, error)
    text = (await (await visitor(gateway, database_url)).get(ACME)).text
    assert ("100.0 %" in text, "of 2 attempts" in text) == (True, True)
