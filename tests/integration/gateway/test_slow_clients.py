"""Slow clients do not harm others: good clients of both listeners are served beside 2,000 slow ones."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
import pytest

from tests.gateways import ADMIN, SECRET, SERVICE
from tests.simulators.stripe import Payment, sign
from tests.waiting import eventually

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

_RUN: Final = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
from ops.processes.gateway import main
sys.exit(main(os.environ))
"""
SLOW: Final = 2000
GOOD: Final = 400
PATIENCE: Final = {"HEAD_TIMEOUT": "3s", "BODY_TIMEOUT": "3s", "ANSWER_TIMEOUT": "3s", "IDLE_TIMEOUT": "5s"}


@asynccontextmanager
async def slow_clients(address: str, number: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.slow_clients", address.removeprefix("http://"), str(number),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"holding\n"
        yield
    finally:
        process.kill()
        await process.wait()


async def served(public: str, number: int) -> float:
    """Run good clients, each on its own connection; return the p99 of the response time, in seconds."""
    took: list[float] = []

    async def send(client: aiohttp.ClientSession) -> None:
        for _ in range(number // 4):
            body = Payment().succeeded()
            headers = {"Stripe-Signature": sign(body, SECRET, time.time()), "Content-Type": "application/json"}
            began = time.perf_counter()
            async with client.post(f"{public}/v1/webhooks/stripe", data=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
            took.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:
        await asyncio.gather(*(send(client) for _ in range(4)))
    return statistics.quantiles(took, n=100)[98]


async def metric(internal: str, name: str) -> float:
    async with aiohttp.ClientSession() as client, client.get(f"{internal}/metrics", headers=ADMIN) as answer:
        text = await answer.text()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


async def ended(internal: str, why: str) -> float | None:
    """The number of connections to the public listener that were closed for this reason, once there are any."""
    return await metric(internal, f'tallyhook_connections_ended_total{{listener="public",why="{why}"}}') or None


async def ready(public: str) -> bool | None:
    async with aiohttp.ClientSession() as client, client.get(f"{public}/health/ready") as answer:
        return answer.status == 200 or None


class Running:
    """A gateway process limited to 1,024 open files; its log is read continuously, so that it never blocks."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._logged: dict[str, dict[str, Any]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            entry = msgspec.json.decode(line)
            self._logged[entry["event"]] = entry

    async def logged(self, event: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            return self._logged.get(event)

        return await eventually(look)

    async def stop(self) -> int:
        self._process.terminate()
        async with asyncio.timeout(20):
            await self._reading
        assert "request_failed" not in self._logged
        return await self._process.wait()


@asynccontextmanager
async def running(database_url: str, **changes: str) -> AsyncIterator[Running]:
    environ = {
        "DATABASE_URL": database_url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "INTERNAL_API_TOKEN": SERVICE["X-Internal-Token"],
        "ADMIN_API_TOKEN": ADMIN["X-Internal-Token"],
        "PUBLIC_PORT": "0",
        "INTERNAL_PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN, env=environ | changes, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.timeout(180)
async def test_good_clients_are_served_beside_2000_slow_ones_with_1024_files(database_url: str) -> None:
    async with running(database_url, **PATIENCE) as gateway:
        started = await gateway.logged("gateway_started")
        public, internal = started["public"], started["internal"]
        assert sum(started["connections"].values()) < 1024
        await eventually(lambda: ready(public))
        await served(public, 40)
        alone = await served(public, GOOD)
        async with slow_clients(public, SLOW), slow_clients(internal, SLOW // 5):
            assert (await gateway.logged("connections_ended"))["displaced"]
            beside = await served(public, GOOD)
            assert await metric(internal, 'tallyhook_connections_open{listener="public"}') <= started["connections"]["public"]
            await eventually(partial(ended, internal, "displaced"))
        # If there is room for them, no connection is displaced, and they reach their own time limit.
        async with slow_clients(public, 20):
            await eventually(partial(ended, internal, "head"))
        print(f"p99 beside slow clients: {beside / alone:.2f} of what it is alone ({alone * 1000:.1f} ms)")  # noqa: T201  # for the log

        async def nobody_is_left() -> bool | None:
            return await metric(internal, "tallyhook_connections_open") <= 1 or None

        await eventually(nobody_is_left)
        assert await gateway.stop() == 0
