"""
The last release and this one side by side under load, while processes are replaced one by one after the migrations.

Nothing is lost or refused: senders are balanced over the gateways that are ready, and get a 2xx for everything.
Only a connection that a gateway does not accept, because its process is gone, is tried again at the other one.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import aiohttp
import psutil
import pytest

from ops.dev.processes import TALLYHOOK
from tests.faults.crowd import PARTNER, assert_each_once, sending
from tests.release import command, last_release
from tests.simulators import partner
from tests.simulators.crm import SECRET, running_crm
from tests.system import System

if TYPE_CHECKING:
    from pathlib import Path

    from ops.stack import Stack
    from tests.faults.crowd import Crowd
    from tests.servers import StartStack

SETTINGS: Final = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "2s", "SHUTDOWN_DELAY": "1s"}
FEW: Final = 20
STEPS: Final = (
    ("relay", "worker-payments"),
    ("gateway",),
    ("relay-2", "worker-leads"),
    ("gateway-2", "worker-payments-2", "worker-leads-2"),
)


@pytest.fixture
def stack(own_stack: StartStack) -> Stack:
    return own_stack("postgres", "kafka")


def prepare(system: System) -> None:
    system.run("migrate")
    system.run("topics", "ensure")


async def balance(crowd: Crowd, doors: list[str]) -> None:
    """Send to the gateways that report ready."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as http:

        async def is_ready(door: str) -> bool:
            try:
                async with http.get(f"{door}/health/ready") as answer:
                    return answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                return False

        while True:
            ready = await asyncio.gather(*map(is_ready, doors))
            crowd.doors = [door for door, serves in zip(doors, ready, strict=True) if serves]
            await asyncio.sleep(0.1)


def replace(system: System, name: str) -> None:
    """Stop a process in order, and wait for the one that replaces it."""
    system.wait_back(name, system.signal(name, signal.SIGTERM))


def is_of(system: System, folder: Path) -> set[bool]:
    """Report for each process whether it runs the release in this folder."""
    return {str(folder) in " ".join(psutil.Process(state.pid).cmdline()) for state in system.states if state.name != "mail-sink"}


@pytest.mark.timeout(300)
async def test_an_upgrade_process_by_process_loses_and_refuses_nothing(stack: Stack, tmp_path: Path) -> None:
    old, current = tmp_path / "old", tmp_path / "current"
    old.mkdir()
    current.symlink_to(last_release(old))
    async with running_crm() as crm:
        settings = SETTINGS | partner.settings(crm.url, SECRET, PARTNER)
        system = System(stack, workers=("payments", "leads"), doubled=True, program=str(current), **settings)
        with ExitStack() as ends:
            prepare(system)
            ends.callback(system.stop)
            await asyncio.to_thread(system.start)
            assert is_of(system, old) == {True}
            doors = [system.public, system.second.public]
            async with sending(crm, *doors) as crowd:
                balancing = asyncio.create_task(balance(crowd, doors))
                await crowd.delivered(FEW)
                current.unlink()
                current.symlink_to(command(tmp_path / "new", TALLYHOOK))
                await asyncio.to_thread(prepare, system)
                for names in STEPS:
                    await asyncio.gather(*(asyncio.to_thread(replace, system, name) for name in names))
                assert is_of(system, old) == {False}
                await crowd.delivered(FEW)
                balancing.cancel()
            assert {*crowd.answers} <= {"200", "202", "ClientConnectorError"}, crowd.answers
            await asyncio.to_thread(assert_each_once, system, crowd, crm)
