"""The system with a pooler before Postgres: PgBouncer in session mode, with its own defaults."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from ops.doctor.examination import examine
from tests.pgbouncer import PgBouncer
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.system import ADMIN, System
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.stack import Stack


@pytest.fixture
def pooler(empty_stack: Stack) -> Iterator[PgBouncer]:
    server = PgBouncer(empty_stack.data_dir / "pgbouncer", empty_stack.postgres.url)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def system(empty_stack: Stack, pooler: PgBouncer) -> Iterator[System]:
    running = System(empty_stack, workers=("payments", "cache"), together=True, DATABASE_URL=pooler.url)
    running.prepare()
    try:
        running.start()
        yield running
    finally:
        running.stop()


async def pay(system: System) -> None:
    """Assert that a payment is stored and a command is answered with its result (by LISTEN), over new connections."""
    async with aiohttp.ClientSession() as http:
        await _pay(system, http)


async def _pay(system: System, http: aiohttp.ClientSession) -> None:
    payment = stripe.Payment()

    async def is_taken() -> bool | None:
        return (await post_stripe(http, system.public, payment.succeeded(int(time.time())))).status == 200 or None

    await eventually(is_taken)

    async def is_there() -> bool | None:
        async with http.get(f"{system.internal}/v1/admin/payments/{payment.id}", headers=ADMIN) as answer:
            return answer.status == 200 or None

    async def is_done() -> bool | None:
        command = {"keys": ["a"]}
        async with http.post(f"{system.internal}/internal/v1/cache/invalidate", json=command, headers=ADMIN) as answer:
            assert answer.status in (200, 503), await answer.text()  # 503: its connection was to the killed pooler
            return answer.status == 200 or None

    await eventually(is_there)
    await eventually(is_done)


async def test_all_goes_on_through_kills_of_processes_and_of_the_pooler(
    system: System, pooler: PgBouncer, tmp_path: Path
) -> None:
    await pay(system)
    for name in ("relay", "worker-payments-cache", "gateway"):
        killed = system.kill(name)
        system.wait_back(name, killed)
    await pay(system)
    pooler.kill()
    pooler.start()
    await eventually_ready(system)
    await pay(system)
    found = {each.area: each.level for each in examine(system.settings, tmp_path)}
    assert (found["postgres"], found["projections"]) == ("ok", "ok")


async def eventually_ready(system: System) -> None:
    async def ready() -> bool | None:
        async with aiohttp.request("GET", f"{system.internal}/health/ready") as answer:
            return answer.status == 200 or None

    await eventually(ready)
