"""The gateway killed while calls under keys are in flight: who repeats such a call gets its answer soon, and one effect."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import pytest

from tests.faults.accounting import assert_ledger
from tests.system import ADMIN, running_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack import Stack
    from tests.system import System

CALLS = 800
AT_ONCE = 20
KILLS = 3
SOON = 10  # seconds that a repeated call may take, the gateway's start among them; a claim alone would hold it up for 30


@pytest.fixture
def system(empty_stack: Stack) -> Iterator[System]:
    with running_system(empty_stack, workers=("cache",), STREAMS_SESSION_TIMEOUT="6s") as running:
        yield running


class Told(NamedTuple):
    """What a caller was told in the end, after how many tries and seconds since the first that broke off."""

    answer: Any
    tries: int
    seconds: float


class Callers:
    """Each repeats its call under its key, as the client of a service does, until it is answered."""

    def __init__(self, system: System, http: aiohttp.ClientSession) -> None:
        self._system = system
        self._http = http
        self._some = asyncio.Semaphore(AT_ONCE)
        self._moved = asyncio.Condition()
        self.told: dict[int, Told] = {}

    async def call(self, number: int) -> None:
        async with self._some:
            broken, tries = 0.0, 1
            while (answer := await self.ask(number)) is None:
                broken = broken or time.monotonic()
                tries += 1
                await asyncio.sleep(0.05)
            self.told[number] = Told(answer, tries, time.monotonic() - broken if broken else 0)
        async with self._moved:
            self._moved.notify_all()

    async def ask(self, number: int) -> Any:
        """The answer, or None where nobody gave any."""
        path, body = call_of(number)
        headers = ADMIN | {"Idempotency-Key": f"key-{number}"}
        try:
            async with self._http.post(f"{self._system.internal}/internal/v1/{path}", json=body, headers=headers) as response:
                assert response.status == 200, await response.text()  # never a 409
                return await response.json()
        except aiohttp.ClientError:
            return None

    async def reached(self, number: int) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: len(self.told) >= number)


def call_of(number: int) -> tuple[str, dict[str, Any]]:
    if number % 2:
        return "config", {"key": f"k{number}", "value": number, "expectedVersion": 0}
    return "cache/invalidate", {"keys": [f"k{number}"]}


@pytest.mark.timeout(240)
async def test_calls_in_flight_at_a_kill_have_one_effect_and_are_answered_soon_when_repeated(system: System) -> None:
    left_open = 0
    async with aiohttp.ClientSession() as http:
        callers = Callers(system, http)
        load = asyncio.gather(*map(callers.call, range(CALLS)))
        for part in range(1, KILLS + 1):
            await callers.reached(part * CALLS // (KILLS + 1))
            killed = system.kill("gateway")
            left_open += await asyncio.to_thread(system.count, "idempotency_keys where status is null")
            await asyncio.to_thread(system.wait_back, "gateway", killed)
        await load
        assert [await callers.ask(number) for number in range(CALLS)] == [callers.told[n].answer for n in range(CALLS)]
    assert left_open > 0
    await asyncio.to_thread(assert_ledger, system, commands=CALLS // 2)
    assert max(told.seconds for told in callers.told.values()) < SOON
    assert system.count("tasks") == system.count("outbox where type = 'cache.invalidate'") == CALLS // 2
    assert system.count("config_history") == system.count("outbox where type = 'config.changed'") == CALLS // 2
