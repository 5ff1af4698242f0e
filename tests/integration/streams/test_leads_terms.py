"""Each partner's own terms, and partners that are added, changed and removed while leads are delivered."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from operations.partners.registry import PutPartner, Registry
from projections.roster import Roster
from runtime.seals import Seals, new_key
from runtime.settings import Secret
from schemas.partners import Partner
from tests.integration.streams.delivering import LOOPBACK, Leads, leads_on, round_of
from tests.simulators.crm import SECRET, hang, status
from tests.simulators.partner import lead
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEYS = [Secret(new_key())]


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        yield world


def with_terms(leads: Leads, **terms: Any) -> None:
    found = Partner.model_validate({"crm_url": f"{leads.crm.url}/acme", "crm_secret": SECRET} | terms)
    leads.partners = {**leads.partners, "ACME": found}


async def test_its_headers_go_with_each_delivery_and_replace_none_of_ours(leads: Leads) -> None:
    seen: list[dict[str, str]] = []

    async def look(_: Any, request: Any) -> Any:
        seen.append(dict(request.headers))
        return await status(204)(leads.crm, request)

    leads.crm.answers("/acme", look)
    with_terms(leads, crm_headers={"X-Api-Key": "k", "webhook-id": "forged"})
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    assert (seen[0]["X-Api-Key"], seen[0]["webhook-id"]) == ("k", str(lead_id))


async def test_its_attempts_are_its_own_unless_the_configuration_names_others(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500))
    with_terms(leads, max_attempts=1)
    leads.config.replace({"lead.max_attempts": 3})
    [first] = await leads.take_in(lead("1"))
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        assert (await leads.one(first))["status"] == "exhausted"
        leads.config.replace({"partner.ACME.max_attempts": 2})
        [second] = await leads.take_in(lead("2"))
        await round_of(dispatcher)
        assert (await leads.one(second))["status"] == "retrying"


async def test_it_has_as_many_attempts_at_once_as_its_terms_allow(leads: Leads) -> None:
    leads.crm.answers("/acme", hang)
    with_terms(leads, concurrency=2)
    await leads.take_in(*(lead(f"{number}") for number in range(6)))
    async with leads.dispatcher(timeout=30) as dispatcher:

        async def two() -> bool | None:
            await dispatcher.run_once()
            return True if leads.crm.most_at_once == 2 else None

        await eventually(two)
        leads.crm.release()
        while await round_of(dispatcher):
            pass
    assert leads.crm.most_at_once == 2


async def test_its_crm_has_the_time_that_its_terms_give(leads: Leads) -> None:
    leads.crm.answers("/acme", hang)
    with_terms(leads, timeout=timedelta(milliseconds=50))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher(timeout=300) as dispatcher:
        await round_of(dispatcher)
    assert [row["error"] for row in await leads.attempts(lead_id)] == ["timeout"]


@asynccontextmanager
async def roster_of(leads: Leads, keys: list[Secret] = KEYS) -> AsyncIterator[Roster]:
    """A roster without partners of the settings; the test decides when it reads the table."""
    roster = Roster({}, Seals(keys))
    leads.partners = roster  # type: ignore[assignment]  # any mapping will do
    yield roster


async def refresh(leads: Leads, roster: Roster) -> None:
    async with leads.pool.connection() as connection:
        await roster.refresh(connection)


async def put(leads: Leads, **terms: Any) -> None:
    registry = Registry(Seals(KEYS), {}, LOOPBACK)
    asked = msgspec.convert({"crmUrl": f"{leads.crm.url}/acme"} | terms, PutPartner)
    async with leads.pool.connection() as connection, connection.transaction():
        await registry.put(connection, "ACME", asked, "test")
        row = await connection.execute("select count(*) from partners")
        assert await row.fetchone() == (1,)
    async with leads.pool.connection() as connection, connection.transaction():
        vault = await registry.add_secret(connection, "ACME", "crm", SECRET, "test") if not terms else None
        assert vault is None or vault.vault.crm[0].value == SECRET


async def test_a_partner_that_is_added_has_its_leads_delivered(leads: Leads) -> None:
    async with roster_of(leads) as roster, leads.dispatcher() as dispatcher:
        await refresh(leads, roster)
        await put(leads)
        await refresh(leads, roster)
        [lead_id] = await leads.take_in(lead())
        await round_of(dispatcher)
    assert (await leads.one(lead_id))["status"] == "delivered"


async def test_a_partner_that_is_paused_has_its_leads_kept_for_later(leads: Leads) -> None:
    await put(leads)
    await put(leads, paused=True)
    async with roster_of(leads) as roster, leads.dispatcher() as dispatcher:
        await refresh(leads, roster)
        [lead_id] = await leads.take_in(lead())
        await round_of(dispatcher)
        assert (await leads.one(lead_id))["status"] == "received"
        await put(leads, paused=False)
        await refresh(leads, roster)
        await round_of(dispatcher)
    assert (await leads.one(lead_id))["status"] == "delivered"


async def test_leads_of_a_partner_whose_secrets_this_worker_cannot_open_wait(leads: Leads) -> None:
    await put(leads)
    async with roster_of(leads, [Secret(new_key())]) as roster, leads.dispatcher() as dispatcher:
        await refresh(leads, roster)
        [lead_id] = await leads.take_in(lead())
        await round_of(dispatcher)
    found = await leads.one(lead_id)
    assert (found["status"], found["attempts"]) == ("received", 0)


async def test_a_partner_that_cannot_be_opened_any_more_goes_on_as_it_was(leads: Leads) -> None:
    await put(leads)
    async with roster_of(leads) as roster, leads.dispatcher() as dispatcher:
        await refresh(leads, roster)
        async with leads.pool.connection() as connection:
            await connection.execute("update partners set key_id = 'unknown', version = version + 1")
        await refresh(leads, roster)
        [lead_id] = await leads.take_in(lead())
        await round_of(dispatcher)
        assert roster.is_uncertain("ACME")
    assert (await leads.one(lead_id))["status"] == "delivered"


async def test_leads_of_a_removed_partner_fail_with_an_alert(leads: Leads) -> None:
    await put(leads)
    async with roster_of(leads) as roster, leads.dispatcher() as dispatcher:
        await refresh(leads, roster)
        await round_of(dispatcher)
        async with leads.pool.connection() as connection, connection.transaction():
            await Registry(Seals(KEYS), {}, LOOPBACK).remove(connection, "ACME")
        await refresh(leads, roster)
        [lead_id] = await leads.take_in(lead())
        dispatcher._unknown_at = 0.0  # it searches for leads of unknown partners only now and then
        await round_of(dispatcher)
    assert [row["error"] for row in await leads.attempts(lead_id)] == ["crm_not_configured"]
