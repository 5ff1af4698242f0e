"""A server goes away under load and comes back: intake answers 503 or continues, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.faults.accounting import assert_all_accounted, make_load
from tests.sender import Provider, post_stripe
from tests.simulators import stripe
from tests.system import ADMIN

if TYPE_CHECKING:
    from tests.system import System


@pytest.mark.timeout(240)
async def test_kafka_away_intake_goes_on_and_the_backlog_drains_by_itself(system: System) -> None:
    load = make_load(300, seed=11)
    provider = Provider(system.public)
    delivery = asyncio.create_task(provider.deliver(load.bodies))
    await provider.reached(len(load.bodies) // 4)
    await asyncio.to_thread(system.stack.kafka.stop)
    await delivery  # all of it is acknowledged while Kafka is away
    assert provider.answers == {"200": len(load.bodies)}
    assert system.count("outbox_pending") > 0
    await assert_the_declared_graph_is_shown(system)
    await asyncio.to_thread(system.stack.kafka.start)
    await asyncio.to_thread(assert_all_accounted, system, load)


@pytest.mark.timeout(240)
async def test_postgres_restarted_under_load_is_answered_with_503_and_nothing_is_lost(system: System) -> None:
    load = make_load(300, seed=13)
    provider = Provider(system.public)
    delivery = asyncio.create_task(provider.deliver(load.bodies))
    for part in (1, 2, 3):
        await provider.reached(part * len(load.bodies) // 4)
        await asyncio.to_thread(system.stack.postgres.kill if part == 2 else system.stack.postgres.stop)
        async with aiohttp.ClientSession() as http:
            refused = await post_stripe(http, system.public, stripe.Payment().created())
        assert (refused.status, refused.headers["Retry-After"].isdecimal()) == (503, True)
        assert (await refused.json())["reason"] == "postgres_unavailable"
        await asyncio.to_thread(system.stack.postgres.start)
    await delivery
    assert provider.acknowledged == len(load.bodies)
    await asyncio.to_thread(assert_all_accounted, system, load)


async def assert_the_declared_graph_is_shown(system: System) -> None:
    """The worker and the gateway serve the declared graph with the reason; the worker's metrics are served as before."""
    worker = system.process("worker-payments").web
    pages = {f"{worker}/topology": {}, f"{system.internal}/v1/admin/topology": ADMIN}
    async with aiohttp.ClientSession() as http:
        for url, headers in pages.items():
            async with http.get(url, headers=headers) as answer:
                assert (answer.status, "kafka_unavailable" in await answer.text()) == (503, True)
            async with http.get(url, headers=headers | {"Accept": "text/html"}) as answer:
                assert (answer.status, "billing.payment.events" in await answer.text()) == (503, True)
        async with http.get(f"{worker}/metrics") as answer:
            assert 'tallyhook_worker_lag{partition="0",topic="webhooks.stripe"' in await answer.text()
