"""The gateway killed while calls with idempotency keys are in flight: a repeated call gets its answer, and has one effect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

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
# Only the end of its holder frees such a claim: if the gateway waited for a claim to expire, the calls would never be answered.
CLAIMED_FOR_EVER = (
    "update idempotency_keys set claimed_until = 'infinity' where status is null and holder is not null returning 1"
)


@pytest.fixture
def system(empty_stack: Stack) -> Iterator[System]:
    with running_system(empty_stack, workers=("cache",), STREAMS_SESSION_TIMEOUT="6s") as running:
        yield running


class Callers:
    """Clients that repeat each call under its key until it is answered."""

    def __init__(self, system: System, http: aiohttp.ClientSession) -> None:
        self._system = system
        self._http = http
        self._some = asyncio.Semaphore(AT_ONCE)
        self._moved = asyncio.Condition()
        self.answers: dict[int, Any] = {}

    async def call(self, number: int) -> None:
        async with self._some:
            self.answers[number] = await self.ask_until_answered(number)
        async with self._moved:
            self._moved.notify_all()

    async def ask_until_answered(self, number: int) -> Any:
        while True:
            if (answer := await self.ask(number)) is not None:
                return answer
            await asyncio.sleep(0.05)

    async def ask(self, number: int) -> Any:
        """Return the answer, or None if there was none."""
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
            await self._moved.wait_for(lambda: len(self.answers) >= number)


def call_of(number: int) -> tuple[str, dict[str, Any]]:
    if number % 2:
        return "config", {"key": f"k{number}", "value": number, "expectedVersion": 0}
    return "cache/invalidate", {"keys": [f"k{number}"]}


@pytest.mark.timeout(240)
async def test_calls_in_flight_at_a_kill_have_one_effect_and_are_answered_when_repeated(system: System) -> None:
    left_open = 0
    async with aiohttp.ClientSession() as http:
        callers = Callers(system, http)
        load = asyncio.gather(*map(callers.call, range(CALLS)))
        for part in range(1, KILLS + 1):
            await callers.reached(part * CALLS // (KILLS + 1))
            killed = system.kill("gateway")
            left_open += len(await asyncio.to_thread(system.query, CLAIMED_FOR_EVER))
            await asyncio.to_thread(system.wait_back, "gateway", killed)
        await load
        assert [await callers.ask(number) for number in range(CALLS)] == [callers.answers[n] for n in range(CALLS)]
    assert left_open > 0
    await asyncio.to_thread(assert_ledger, system, commands=CALLS // 2)
    assert system.count("tasks") == system.count("outbox where type = 'cache.invalidate'") == CALLS // 2
    assert system.count("config_history") == system.count("outbox where type = 'config.changed'") == CALLS // 2
