"""SIGKILL under load: every acknowledged event has its effects exactly once, whichever process dies and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.accounting import assert_all_accounted, make_load
from tests.sender import Provider
from tests.system import running_system

if TYPE_CHECKING:
    from ops.stack import Stack
    from tests.system import System

KILLS = 4


@pytest.mark.timeout(240)
@pytest.mark.parametrize("victim", ["gateway", "relay", "worker-payments"])
async def test_a_process_killed_again_and_again_loses_and_doubles_nothing(system: System, victim: str) -> None:
    load = make_load(400, seed=7)
    provider = Provider(system.public)
    delivery = asyncio.create_task(provider.deliver(load.bodies))
    for number in range(1, KILLS + 1):
        await provider.reached(number * len(load.bodies) // (KILLS + 1))
        killed = system.kill(victim)
        await asyncio.to_thread(system.wait_back, victim, killed)
    await delivery
    assert provider.acknowledged == len(load.bodies)
    await asyncio.to_thread(assert_all_accounted, system, load)


@pytest.mark.timeout(240)
async def test_relays_and_workers_side_by_side_lose_and_double_nothing_while_each_is_killed(empty_stack: Stack) -> None:
    """Shards and partitions move under load, away from killed processes and back to restarted ones."""
    load = make_load(400, seed=17)
    with running_system(empty_stack, workers=("payments",), doubled=True, STREAMS_SESSION_TIMEOUT="6s") as system:
        provider = Provider(system.public)
        delivery = asyncio.create_task(provider.deliver(load.bodies))
        victims = ["relay-2", "worker-payments", "relay", "worker-payments-2"]
        for number, victim in enumerate(victims, start=1):
            await provider.reached(number * len(load.bodies) // (len(victims) + 1))
            killed = system.kill(victim)
            await asyncio.to_thread(system.wait_back, victim, killed)
        await delivery
        await asyncio.to_thread(assert_all_accounted, system, load)
