"""The search and cache workers killed under load, their servers away: every command has its effect, no older one wins."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from elasticsearch import AsyncElasticsearch
from redis.asyncio import Redis

from tests.faults.accounting import assert_ledger
from tests.system import SERVICE, System, running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack import Stack

DOCUMENTS, CHANGES = 40, 20
KEYS = 600


@pytest.fixture
def system(empty_stack: Stack) -> Iterator[System]:
    settings = {"STREAMS_SESSION_TIMEOUT": "6s", "STREAMS_RETRY_MAX": "2s", "COMMAND_WAIT": "100ms"}
    with running_system(empty_stack, workers=("cache", "search"), CACHE_KEY_PREFIX="shop:", **settings) as running:
        yield running


class Caller:
    """Sends commands and counts the answers."""

    def __init__(self, system: System, http: aiohttp.ClientSession) -> None:
        self._url = f"{system.internal}/internal/v1"
        self._http = http
        self._some = asyncio.Semaphore(20)
        self._moved = asyncio.Condition()
        self.answered = 0

    async def post(self, path: str, body: dict[str, Any]) -> None:
        async with self._some, self._http.post(f"{self._url}/{path}", json=body, headers=SERVICE) as answer:
            assert answer.status in (200, 202), await answer.text()
        async with self._moved:
            self.answered += 1
            self._moved.notify_all()

    async def reached(self, number: int) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self.answered >= number)


def all_done(system: System, commands: int) -> None:
    wait_until(lambda: system.count("tasks where status = 'done'") == commands)
    assert system.count("tasks") == commands
    assert_ledger(system, commands=commands)


async def change(caller: Caller, name: str, chance: random.Random) -> dict[str, Any] | None:
    """Change one document several times in turn; return its last content."""
    doc: dict[str, Any] | None = None
    for number in range(CHANGES):
        doc = None if chance.random() < 0.3 else {"n": number}
        await caller.post("search/index", {"index": "properties", "id": name, "op": "upsert" if doc else "delete", "doc": doc})
    return doc


@pytest.mark.timeout(300)
async def test_documents_have_their_last_version_whatever_dies(system: System) -> None:
    commands = DOCUMENTS * CHANGES
    names = [f"p{n}" for n in range(DOCUMENTS)]
    async with aiohttp.ClientSession() as http:
        caller = Caller(system, http)
        load = asyncio.gather(*(change(caller, name, random.Random(name)) for name in names))
        for part in (1, 2, 3):
            await caller.reached(part * commands // 5)
            killed = system.kill("worker-search")
            await asyncio.to_thread(system.wait_back, "worker-search", killed)
        await caller.reached(4 * commands // 5)
        await asyncio.to_thread(system.stack.elasticsearch.stop)
        expected = dict(zip(names, await load, strict=True))
    await asyncio.to_thread(system.stack.elasticsearch.start)
    await asyncio.to_thread(all_done, system, commands)
    async with AsyncElasticsearch(system.stack.elasticsearch.url, request_timeout=30) as elastic:
        await elastic.indices.refresh(index="properties")
        hits = (await elastic.search(index="properties", size=DOCUMENTS))["hits"]["hits"]
    assert {hit["_id"]: hit["_source"] for hit in hits} == {name: doc for name, doc in expected.items() if doc}


@pytest.mark.timeout(300)
async def test_every_key_is_gone_whatever_dies_and_no_foreign_one(system: System) -> None:
    keys = [f"k{n}" for n in range(KEYS)]
    foreign = [f"k{n}" for n in range(KEYS)]
    async with Redis.from_url(system.stack.redis.url) as redis:
        await redis.mset({f"shop:{key}": "v" for key in keys} | dict.fromkeys(foreign, "v"))
    bodies: list[dict[str, Any]] = [{"patterns": [f"{key}*"]} if n % 10 == 0 else {"keys": [key]} for n, key in enumerate(keys)]
    async with aiohttp.ClientSession() as http:
        caller = Caller(system, http)
        load = asyncio.gather(*(caller.post("cache/invalidate", body) for body in bodies))
        for part in (1, 2, 3):
            await caller.reached(part * KEYS // 5)
            killed = system.kill("worker-cache")
            await asyncio.to_thread(system.wait_back, "worker-cache", killed)
        await asyncio.to_thread(system.stack.redis.stop)
        await load
    await asyncio.to_thread(system.stack.redis.start)
    await asyncio.to_thread(all_done, system, KEYS)
    async with Redis.from_url(system.stack.redis.url) as redis:
        assert await redis.exists(*(f"shop:{key}" for key in keys)) == 0
        assert await redis.exists(*foreign) == KEYS
