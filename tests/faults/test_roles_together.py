"""Several roles in one process: a role that waits does not delay the others, and no work is lost if the process dies."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import pytest
import requests

from ops.dev.processes import WORKERS
from streams.dashboard import Dashboard, WorkerFigures
from tests.faults.accounting import Load, assert_all_accounted, make_load
from tests.sender import Provider
from tests.system import SERVICE, running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from ops.stack import Stack
    from tests.system import System

SETTINGS: Final = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "1s", "COMMAND_WAIT": "100ms"}
WORKER: Final = "worker-payments-cache-search"
EVERY: Final = "worker-all"
COMMANDS: Final = 50
KILLS: Final = 3


def web(system: System, name: str) -> str:
    found = system.process(name).web
    assert found
    return found


def figures(system: System, name: str) -> dict[str, WorkerFigures]:
    answer = requests.get(f"{web(system, name)}/agents.json", timeout=10)
    return {each.worker: each for each in msgspec.json.decode(answer.content, type=Dashboard).workers}


def blocked(system: System, name: str) -> dict[str, int]:
    """`tallyhook_worker_blocked` of each role that has waited or handled anything."""
    text = requests.get(f"{web(system, name)}/metrics", timeout=10).text
    return {
        role: int(float(value))
        for role, value in re.findall(r'^tallyhook_worker_blocked{worker="(\w+)"} (\S+)$', text, re.MULTILINE)
    }


async def command(system: System, number: int) -> None:
    """Send commands for as many documents and as many cache keys."""
    async with aiohttp.ClientSession() as http:
        for n in range(number):
            document = {"index": "properties", "id": f"p{n}", "op": "upsert", "doc": {"n": n}}
            for path, body in (("search/index", document), ("cache/invalidate", {"keys": [f"k{n}"]})):
                async with http.post(f"{system.internal}/internal/v1/{path}", json=body, headers=SERVICE) as answer:
                    assert answer.status == 202, await answer.text()


@pytest.mark.timeout(300)
async def test_payments_go_on_while_search_and_cache_wait_for_their_servers(empty_stack: Stack) -> None:
    roles = ("payments", "cache", "search")
    with running_system(empty_stack, workers=roles, together=True, **SETTINGS) as system:
        assert {state.name for state in system.states if state.name.startswith("worker")} == {WORKER}
        await asyncio.to_thread(empty_stack.elasticsearch.stop)
        await asyncio.to_thread(empty_stack.redis.stop)
        await command(system, COMMANDS)
        await asyncio.to_thread(wait_until, lambda: all(figures(system, WORKER)[name].waiting for name in ("search", "cache")))
        load = make_load(100, seed=3)
        await Provider(system.public).deliver(load.bodies)
        wait_until(lambda: system.count("consumed where consumer = 'payments'") >= load.events)
        found = figures(system, WORKER)
        assert {name: (each.waiting, each.handled) for name, each in found.items()} == {
            "payments": (False, load.events),
            "search": (True, 0),
            "cache": (True, 0),
        }
        assert blocked(system, WORKER) == {"payments": 0, "search": 1, "cache": 1}
        await asyncio.to_thread(stop_by, signal.SIGTERM, system, WORKER)
        await asyncio.to_thread(empty_stack.elasticsearch.start)
        await asyncio.to_thread(empty_stack.redis.start)
        wait_until(lambda: system.count("tasks where status = 'done'") == 2 * COMMANDS)
        await asyncio.to_thread(assert_all_accounted, system, load, {"property.upserted", "cache.invalidate"})
        assert system.process(WORKER).restarts == 1


def stop_by(number: signal.Signals, system: System, name: str) -> None:
    """Have the process end by itself, within its time limit; the supervisor starts it again."""
    pid = system.process(name).pid
    assert pid
    os.kill(pid, number)
    system.wait_back(name, pid)
    assert "shutdown_ignored" not in system.log_of(name)


def assert_everything_done(system: System, load: Load) -> None:
    """Every payment is accounted for, and each of its messages was settled once: these users have no address."""
    messages = len(load.payments) + len(load.refunded)
    wait_until(lambda: system.count("notifications where status = 'failed'") == messages)
    assert_all_accounted(system, load, {"notification.failed"})
    assert system.count("notifications") == system.count("outbox where type = 'notification.failed'") == messages


@pytest.mark.timeout(300)
async def test_the_process_of_all_roles_killed_again_and_again_loses_and_doubles_nothing(empty_stack: Stack) -> None:
    load = make_load(300, seed=11)
    with running_system(empty_stack, together=True, **SETTINGS) as system:
        provider = Provider(system.public)
        delivery = asyncio.create_task(provider.deliver(load.bodies))
        for number in range(1, KILLS + 1):
            await provider.reached(number * len(load.bodies) // (KILLS + 1))
            killed = system.kill(EVERY)
            await asyncio.to_thread(system.wait_back, EVERY, killed)
        await delivery
        await asyncio.to_thread(assert_everything_done, system, load)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_has_every_role_commit_and_the_next_process_begins_there(
    empty_stack: Stack, number: signal.Signals
) -> None:
    """Little is committed before the signal: the commit interval is the longest possible."""
    load = make_load(50, seed=5)
    with running_system(empty_stack, together=True, STREAMS_COMMIT_INTERVAL="1m", **SETTINGS) as system:
        await Provider(system.public).deliver(load.bodies)
        await asyncio.to_thread(assert_everything_done, system, load)
        await asyncio.to_thread(stop_by, number, system, EVERY)
        # A role has no lag to show before it has read its commits; records that it reads again are counted as repeated.
        wait_until(lambda: {name: each.lag for name, each in figures(system, EVERY).items()} == dict.fromkeys(WORKERS, 0))
        assert {name: each.repeated for name, each in figures(system, EVERY).items()} == dict.fromkeys(WORKERS, 0)
