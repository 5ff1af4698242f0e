"""One partner has one leads worker at a time, so limits of a CRM hold for all workers together."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from runtime.heartbeat import Heartbeat
from runtime.service import running
from streams.leads.role import Ownership
from tests.integration.streams.delivering import Leads, leads_on, round_of
from tests.simulators.crm import hang, status
from tests.simulators.partner import lead
from tests.waiting import eventually, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

PARTNERS: Final = [f"PARTNER_{n}" for n in range(40)]
OFTEN: Final = timedelta(milliseconds=20)


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        yield world


def ownership_of(database_url: str) -> Ownership:
    return Ownership(database_url, Heartbeat("deliveries"), OFTEN)


@asynccontextmanager
async def kept(owned: Ownership, busy: Callable[[], Collection[str]] = tuple) -> AsyncIterator[Ownership]:
    """Run a worker's ownership during the block; then close its connection, as if the worker had died."""
    async with running(owned.keeping(busy)):
        yield owned


def held(owned: Ownership) -> set[str]:
    return {partner for partner in PARTNERS if owned.holds(partner)}


async def test_a_worker_alone_owns_all_partners_and_none_before_it_has_claimed_them(database_url: str) -> None:
    assert held(Ownership(database_url, Heartbeat("deliveries"))) == set()
    async with kept(ownership_of(database_url)) as alone:
        await until(lambda: len(held(alone)) == len(PARTNERS))


async def test_several_share_them_out_and_no_partner_has_two(database_url: str) -> None:
    async with (
        kept(ownership_of(database_url)) as first,
        kept(ownership_of(database_url)) as second,
        kept(ownership_of(database_url)) as third,
    ):

        def is_shared_out() -> bool:
            shares = [held(first), held(second), held(third)]
            assert len(set.union(*shares)) == sum(map(len, shares))
            return all(shares) and len(set.union(*shares)) == len(PARTNERS)

        await until(is_shared_out)


async def test_partners_of_a_dead_worker_go_to_the_others(database_url: str) -> None:
    async with kept(ownership_of(database_url)) as stays:
        async with kept(ownership_of(database_url)) as goes:
            await until(lambda: bool(held(goes)))
        await until(lambda: len(held(stays)) == len(PARTNERS))


async def test_a_partner_with_attempts_in_flight_is_handed_over_when_they_have_ended(database_url: str) -> None:
    busy = {*PARTNERS}
    looks = 0

    def looked() -> tuple[str, ...]:
        nonlocal looks
        looks += 1
        return ()

    async with kept(ownership_of(database_url), lambda: busy) as first:
        await until(lambda: len(held(first)) == len(PARTNERS))
        async with kept(ownership_of(database_url), looked) as second:
            await until(lambda: len(held(first)) < len(PARTNERS) and looks > 5)
            leaving = {*PARTNERS} - held(first)
            assert held(second) == set()
            busy.clear()
            await until(lambda: held(second) == leaving)


async def test_two_workers_together_keep_a_partners_cap(leads: Leads, database_url: str) -> None:
    first, second = ownership_of(database_url), ownership_of(database_url)
    leads.crm.answers("/acme", hang)
    await leads.take_in(*(lead(f"{n}") for n in range(10)))
    async with (
        leads.dispatcher(cap=2, holds=first.holds) as one,
        leads.dispatcher(cap=2, holds=second.holds) as two,
        kept(first, one.busy),
        kept(second, two.busy),
    ):

        async def have_begun() -> bool | None:
            await one.run_once()
            await two.run_once()
            return len(leads.crm.taken) >= 2 or None

        await eventually(have_begun)
        for _ in range(5):
            await have_begun()
        assert "ACME" in one.busy() | two.busy()
        leads.crm.answers("/acme", status(204))
        leads.crm.release()

        async def are_delivered() -> bool | None:
            await round_of(one)
            await round_of(two)
            return len({*leads.crm.ids("/acme")}) == 10 or None

        await eventually(are_delivered)
    assert leads.crm.most_at_once == 2


async def test_a_breaker_is_that_of_the_worker_that_has_the_partner_now(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500))
    await leads.take_in(*(lead(f"{n}") for n in range(4)))
    mine = True
    async with leads.dispatcher(cap=1, breaker_threshold=1, holds=lambda _: mine) as dispatcher:
        await round_of(dispatcher)
        await round_of(dispatcher)
        assert len(leads.crm.taken) == 1  # its breaker is open
        mine = False
        await round_of(dispatcher)
        assert len(leads.crm.taken) == 1
        mine = True
        await round_of(dispatcher)
        assert len(leads.crm.taken) == 2
