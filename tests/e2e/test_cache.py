"""A key of the cache from the call to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from tests.e2e.conftest import CACHE_PREFIX
from tests.system import SERVICE, System

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp


@pytest.fixture
async def redis(system: System) -> AsyncIterator[Redis]:
    client = Redis.from_url(system.stack.redis.url)
    yield client
    await client.aclose()


async def invalidate(http: aiohttp.ClientSession, system: System, **command: Any) -> tuple[int, Any]:
    async with http.post(f"{system.internal}/internal/v1/cache/invalidate", json=command, headers=SERVICE) as answer:
        return answer.status, await answer.json()


async def test_keys_and_patterns_are_gone_and_counted_and_foreign_keys_stay(
    system: System, http: aiohttp.ClientSession, redis: Redis
) -> None:
    run = uuid4().hex[:8]
    ours = [f"{CACHE_PREFIX}{run}:{n}" for n in range(3000)]
    foreign = [f"{run}:{n}" for n in range(10)]
    await redis.mset(dict.fromkeys([*ours, *foreign], "v"))
    assert await invalidate(http, system, keys=[f"{run}:0", f"{run}:1", f"{run}:never"]) == (200, {"invalidated": 2})
    answer = await invalidate(http, system, patterns=[f"{run}:1*", f"{run}:*"], keys=[f"{run}:2"])
    assert answer == (200, {"invalidated": 2998})
    assert await redis.exists(*ours) == 0
    assert await redis.exists(*foreign) == len(foreign)
