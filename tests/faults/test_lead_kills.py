"""The leads worker killed, and a CRM away and back, under load: each lead arrives; a repeated one has the same message id."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.faults.accounting import assert_ledger
from tests.simulators import partner
from tests.simulators.crm import SECRET, close, running_crm, slow, status
from tests.system import running_system
from tests.waiting import eventually

if TYPE_CHECKING:
    from ops.stack import Stack
    from tests.system import System

LEADS = 400
KILLS = 3
CAP = 5
SETTINGS = {"STREAMS_SESSION_TIMEOUT": "6s", "LEAD_TIMEOUT": "1s", "LEAD_POLL": "50ms", "LEAD_PARTNER_CONCURRENCY": str(CAP)}


async def send_all(system: System) -> set[str]:
    """The ids of all leads, each acknowledged."""
    async with aiohttp.ClientSession() as http:

        async def send(number: int) -> str:
            name = ("acme", "other")[number % 2]
            body = partner.lead(f"{number}", name)
            headers = {
                "Content-Type": "application/json",
                "X-Partner-Signature": partner.sign(body, f"{name}-secret", time.time()),
            }
            async with http.post(f"{system.public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer:
                assert answer.status == 202, await answer.text()
                return str((await answer.json())["id"])

        return set(await asyncio.gather(*map(send, range(LEADS))))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victims", [("worker-leads",), ("worker-leads", "worker-leads-2")], ids=["alone", "of two"])
async def test_a_worker_killed_again_and_again_loses_no_lead(empty_stack: Stack, victims: tuple[str, ...]) -> None:
    async with running_crm() as crm:
        for path in ("/acme", "/other"):
            crm.answers(path, slow(0.05))
        settings = SETTINGS | partner.settings(crm.url, SECRET, "acme", "other")
        running = running_system(empty_stack, workers=("leads",), doubled=len(victims) > 1, **settings)
        system = await asyncio.to_thread(running.__enter__)
        try:
            ids = await send_all(system)
            for number in range(1, KILLS + 1):
                await eventually(lambda due=number * LEADS // (KILLS + 1): _taken(crm.taken, due))
                victim = victims[number % len(victims)]
                killed = system.kill(victim)
                await asyncio.to_thread(system.wait_back, victim, killed)
            await eventually(lambda: _delivered(system))
            assert_each_arrived(system, ids, Counter(taken.message_id for taken in crm.taken))
            await asyncio.to_thread(assert_ledger, system, partner=LEADS)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


@pytest.mark.timeout(240)
async def test_a_crm_that_goes_away_and_comes_back_gets_every_lead_and_holds_up_no_other(empty_stack: Stack) -> None:
    async with running_crm() as crm:
        crm.answers("/acme", close)
        retries = {
            "LEAD_RETRY_BASE": "100ms",
            "LEAD_RETRY_MAX": "1s",
            "LEAD_MAX_ATTEMPTS": "100",
            "LEAD_BREAKER_COOLDOWN": "500ms",
        }
        settings = SETTINGS | retries | partner.settings(crm.url, SECRET, "acme", "other")
        running = running_system(empty_stack, workers=("leads",), **settings)
        system = await asyncio.to_thread(running.__enter__)
        try:
            ids = await send_all(system)
            await eventually(lambda: _taken(crm.ids("/other"), LEADS // 2))
            assert len(crm.ids("/other")) == LEADS // 2  # none of them twice
            assert await asyncio.to_thread(system.count, "leads where partner_id = 'acme' and status = 'delivered'") == 0
            crm.answers("/acme", status(204))
            await eventually(lambda: _delivered(system))
            assert {*crm.ids("/acme"), *crm.ids("/other")} == ids
            assert system.count("outbox where type = 'lead.delivered'") == LEADS
            assert system.count("lead_attempts where status = 204") == LEADS
            assert system.count("leads where status <> 'delivered'") == 0
            await asyncio.to_thread(assert_ledger, system, partner=LEADS)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def _taken(taken: list[object], number: int) -> bool | None:
    return len(taken) >= number or None


async def _delivered(system: System) -> bool | None:
    return await asyncio.to_thread(system.count, "leads where status = 'delivered'") == LEADS or None


def assert_each_arrived(system: System, ids: set[str], arrived: Counter[str]) -> None:
    assert set(arrived) == ids
    repeated = sum(arrived.values()) - LEADS
    # At most the leads in flight at a kill are sent again.
    assert repeated <= KILLS * 2 * CAP
    assert system.count("outbox where type = 'lead.delivered'") == LEADS
    assert system.count("lead_attempts where status = 204") == LEADS
    # Each repeat has an attempt that the kill interrupted, or that timed out on the busy machine.
    assert system.count("lead_attempts where status is distinct from 204") >= repeated
    assert system.count("lead_attempts where ended_at is null") == 0
