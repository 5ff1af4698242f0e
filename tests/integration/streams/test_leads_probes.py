"""A CRM that is back is found within minutes, or at once on request; a probe uses up no attempt of a lead."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from projections.partners import read_partners, request_probe, why_waiting
from runtime.service import running
from tests.command import tallyhook_beside
from tests.integration.streams.delivering import Leads, leads_on, round_of
from tests.simulators.crm import SECRET, status
from tests.simulators.partner import lead
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from projections.partners import PartnerView

HOUR = timedelta(hours=1)
DEAD: dict[str, Any] = {"breaker_threshold": 5, "breaker_cooldown": HOUR, "breaker_longest": HOUR, "cap": 5}
HALF_OPEN: dict[str, Any] = {"breaker_threshold": 5, "breaker_cooldown": timedelta(), "cap": 5}


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        yield world


async def partner_view(leads: Leads, partner: str = "ACME") -> PartnerView:
    async with leads.pool.connection() as connection:
        return {view.partner: view for view in await read_partners(connection)}[partner]


async def fail(leads: Leads, number: int, **limits: Any) -> None:
    """Have a worker try leads at a dead CRM until its breaker is open."""
    leads.crm.answers("/acme", status(500))
    await leads.take_in(*(lead(f"{n}") for n in range(number)))
    async with leads.dispatcher(**DEAD | limits) as dispatcher:
        await round_of(dispatcher)
        await dispatcher.run_once()
    leads.crm.taken.clear()


async def test_the_view_shows_that_a_crm_gets_no_leads_and_why(leads: Leads) -> None:
    await fail(leads, 25)
    seen = await partner_view(leads)
    assert (seen.waiting, seen.failures, seen.error) == (25, 5, "http_500")
    assert seen.opened_at
    assert seen.probe_at
    assert seen.probe_at - leads.clock.now > timedelta(minutes=50)
    async with leads.pool.connection() as connection:
        wait = await why_waiting(connection, "ACME", ["ACME"])
        assert wait
        assert (wait.reason, wait.until) == ("breaker_open", seen.probe_at)
        assert await why_waiting(connection, "OTHER", []) is None


async def test_a_crm_that_is_back_is_found_by_a_lead_that_is_not_due_and_then_gets_all_of_them(leads: Leads) -> None:
    await fail(leads, 5)
    leads.crm.answers("/acme", status(204))
    assert [row["next_attempt_at"] > leads.clock.now for row in await leads.rows("select * from leads")] == [True] * 5
    async with leads.dispatcher(**HALF_OPEN) as dispatcher:  # it starts with the breaker half open, as after the cool-down

        async def all_there() -> bool | None:
            await round_of(dispatcher)
            return len({*leads.crm.ids("/acme")}) == 5 or None

        await eventually(all_there)
        await round_of(dispatcher)
    seen = await partner_view(leads)
    assert (seen.opened_at, seen.error, seen.waiting) == (None, None, 0)


async def test_a_probe_that_fails_uses_up_no_attempt_of_a_lead_that_was_not_due(leads: Leads) -> None:
    await fail(leads, 5)
    before = {row["id"]: (row["failures"], row["next_attempt_at"]) for row in await leads.rows("select * from leads")}
    async with leads.dispatcher(**HALF_OPEN) as dispatcher:
        for _ in range(12):  # more than the attempts that each of them has
            await round_of(dispatcher)
        await dispatcher.run_once()
    assert len(leads.crm.taken) >= 5
    after = {row["id"]: row for row in await leads.rows("select * from leads where status = 'retrying'")}
    pulled = {taken.message_id for taken in leads.crm.taken}
    assert {row["failures"] for row in after.values()} == {1}
    for lead_id, (_, due) in before.items():
        if str(lead_id) not in pulled:
            assert after[lead_id]["next_attempt_at"] == due


async def test_a_requested_probe_is_made_at_once(leads: Leads) -> None:
    await fail(leads, 8)
    async with leads.dispatcher(**DEAD) as dispatcher:
        for _ in range(3):
            await round_of(dispatcher)
        await dispatcher.run_once()
        assert len(leads.crm.taken) == 1  # of the worker that takes over
        async with leads.pool.connection() as connection:
            asked_at = await request_probe(connection, "ACME")
        leads.crm.answers("/acme", status(204))

        async def answered() -> bool | None:
            await round_of(dispatcher)
            return ((await partner_view(leads)).tried_at or asked_at) > asked_at or None

        await eventually(answered)
        assert (await partner_view(leads)).opened_at is None


async def test_where_no_lead_waits_the_breaker_is_closed_by_hand(leads: Leads) -> None:
    await fail(leads, 5)
    await leads.rows("update leads set status = 'rejected', next_attempt_at = null returning id")
    async with leads.dispatcher(**DEAD) as dispatcher:
        async with leads.pool.connection() as connection:
            await request_probe(connection, "ACME")
        await dispatcher.run_once()
    assert (await partner_view(leads)).opened_at is None


@asynccontextmanager
async def working(leads: Leads, **limits: Any) -> AsyncIterator[None]:
    async with leads.dispatcher(**DEAD | limits) as dispatcher, running(dispatcher):
        yield


async def command(database_url: str, folder: Path, *words: str) -> tuple[int, str, str]:
    crm = {"PARTNER_ACME_CRM_URL": "http://127.0.0.1:1", "PARTNER_ACME_CRM_SECRET": SECRET, "OUTBOUND_ALLOW": "127.0.0.0/8"}
    environ = {"DATABASE_URL": database_url, **crm}
    done = await tallyhook_beside(environ, "partners", *words, folder=folder)
    return done.returncode, done.stdout, done.stderr


async def test_the_command_prints_whether_the_crm_is_back(leads: Leads, database_url: str, tmp_path: Path) -> None:
    await fail(leads, 8)
    code, out, _ = await command(database_url, tmp_path, "list")
    assert (code, "ACME: 8 leads wait" in out, "after 5 failures in a row (http_500)" in out) == (0, True, True)
    async with working(leads):
        code, out, err = await command(database_url, tmp_path, "probe", "acme")
        assert (code, out) == (1, "")
        assert "the CRM of ACME still fails (http_500)" in err
        leads.crm.answers("/acme", status(204))
        code, out, err = await command(database_url, tmp_path, "probe", "ACME", "--json")
        assert (code, err) == (0, "")
        assert "openedAt" not in json.loads(out)


async def test_the_command_prints_what_keeps_it_from_being_tried(leads: Leads, database_url: str, tmp_path: Path) -> None:
    code, _, err = await command(database_url, tmp_path, "probe", "acmee")
    assert (code, "there is no partner ACMEE; there are: ACME" in err) == (1, True)
    code, _, err = await command(database_url, tmp_path, "probe", "acme", "--wait", "1")
    assert (code, "no leads worker has tried the CRM of ACME within 1 s" in err) == (1, True)
    await leads.rows("insert into config (key, value, version) values ('partner.ACME.paused', 'true', 1) returning key")
    code, _, err = await command(database_url, tmp_path, "probe", "acme")
    assert (code, "partner.ACME.paused is true" in err) == (1, True)
