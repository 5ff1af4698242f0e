"""Leads while the clock of Postgres, of a worker or of a CRM is wrong, or was: none of them waits until that time comes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from standardwebhooks import Webhook

from projections.partners import request_probe
from streams.leads import breaker_store
from streams.leads.breaker_store import BreakerState
from streams.leads.handler import LeadsHandler
from tests.integration.streams.delivering import Leads, leads_on, round_of
from tests.simulators.crm import status
from tests.simulators.partner import lead

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

YEAR: Final = timedelta(days=365)


class Ahead(datetime):
    """The clock of a machine that is a year ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + YEAR


class Timeless(Webhook):
    """Accepts a signature of any time."""

    def verify(self, *_: Any, **__: Any) -> None:
        """The clock of the CRM is right."""


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        yield world


async def test_a_command_to_a_worker_whose_clock_is_ahead_makes_the_lead_due_now(
    leads: Leads, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads.crm.answers("/acme", status(500), status(204))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        monkeypatch.setattr("streams.leads.handler.datetime", Ahead)
        await leads.command(lead_id)
        leads.clock.forward(1)
        await round_of(dispatcher)
    assert (await leads.one(lead_id))["status"] == "delivered"


async def test_a_command_of_a_gateway_whose_clock_was_ahead_is_rebuilt_as_due_now(
    leads: Leads, monkeypatch: pytest.MonkeyPatch
) -> None:
    [lead_id] = await leads.take_in(lead())
    leads.clock.now += YEAR
    monkeypatch.setattr(LeadsHandler, "handle", LeadsHandler.rebuild)
    await leads.command(lead_id)
    [row] = await leads.rows("select next_attempt_at <= now() as due from leads")
    assert row["due"]


async def test_a_lead_whose_time_was_stored_while_the_clock_was_ahead_is_due_again(leads: Leads) -> None:
    retried, claimed, asked = await leads.take_in(lead("1"), lead("2"), lead("3", "other"))
    ahead, day = leads.clock.now + YEAR, leads.clock.now + timedelta(hours=24)  # the longest Retry-After
    move = "update leads set status = %s, attempts = 1, next_attempt_at = %s where id = %s returning id"
    await leads.rows(move, "retrying", ahead, retried)
    await leads.rows(move, "delivering", ahead, claimed)
    await leads.rows(move, "retrying", day, asked)
    async with leads.dispatcher() as dispatcher:
        assert await round_of(dispatcher) == 0  # a worker that is alive may hold one of them, and would renew its claim
        leads.clock.forward(120)
        await round_of(dispatcher)
    assert [(await leads.one(each))["status"] for each in (retried, claimed)] == ["delivered", "delivered"]
    assert (await leads.one(asked))["next_attempt_at"] == day


async def test_a_pause_that_a_crm_requested_while_the_clock_was_ahead_ends_when_the_clock_is_right(
    leads: Leads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.simulators.crm.Webhook", Timeless)
    leads.crm.answers("/acme", status(429, Retry_After="86400"), status(204))
    await leads.take_in(lead("1"))
    leads.clock.now += YEAR
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        leads.clock.now -= YEAR
        [second] = await leads.take_in(lead("2"))
        leads.clock.forward(1)
        await round_of(dispatcher)
    assert (await leads.one(second))["status"] == "delivered"


async def test_a_pause_of_a_day_is_kept_if_the_clock_is_set_back_a_little(leads: Leads) -> None:
    leads.crm.answers("/acme", status(429, Retry_After="86400"), status(204))
    [first] = await leads.take_in(lead("1"))
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        leads.clock.forward(-20)
        [second] = await leads.take_in(lead("2"))
        for _ in range(2):
            await round_of(dispatcher)
            leads.clock.forward(300)
    assert [(await leads.one(each))["attempts"] for each in (first, second)] == [1, 0]


async def test_a_probe_can_be_requested_of_a_crm_that_was_tried_while_the_clock_was_ahead(leads: Leads) -> None:
    async with leads.pool.connection() as connection:
        state = BreakerState("ACME", None, 5, "http_500", leads.clock.now)
        await breaker_store.write(connection, state)
        await connection.execute("update lead_breakers set tried_at = now() + interval '1 year'")
        await request_probe(connection, "ACME")
        assert await breaker_store.read_probe_requests(connection, ["ACME"]) == ["ACME"]
        await breaker_store.write(connection, state)
        assert await breaker_store.read_probe_requests(connection, ["ACME"]) == []


async def test_a_probe_that_was_requested_while_the_clock_was_ahead_is_made_once(leads: Leads) -> None:
    async with leads.pool.connection() as connection:
        await request_probe(connection, "ACME")
        await connection.execute("update lead_breakers set asked_at = now() + interval '1 year'")
        assert await breaker_store.read_probe_requests(connection, ["ACME"]) == ["ACME"]
        await breaker_store.write(connection, BreakerState("ACME", None, 0, None, leads.clock.now))
        assert await breaker_store.read_probe_requests(connection, ["ACME"]) == []
