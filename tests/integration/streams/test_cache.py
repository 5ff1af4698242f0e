"""The cache worker on a real Redis and a real Postgres."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from runtime import heartbeat
from runtime.database import make_pool
from runtime.heartbeat import Heartbeat, liveness
from schemas.operations import InvalidateCache
from streams.cache import handler as cache_handler
from streams.cache.handler import CACHE, CacheHandler, Keyspace
from streams.errors import Transient
from streams.processor import Processor
from streams.settings import CacheSettings
from tests.failover import failing_over
from tests.integration.streams.commands import envelope_of, open_tasks, record_of, task_of
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers import StartStack


@pytest.fixture
async def redis(redis_server: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_server)
    await client.flushall()
    yield client
    await client.aclose()


@asynccontextmanager
async def processing(database_url: str, redis_url: str, prefix: str = "") -> AsyncIterator[Processor]:
    settings = CacheSettings(
        database_url=database_url, kafka_bootstrap_servers="unused:9092", redis_url=redis_url, cache_key_prefix=prefix
    )
    pool = make_pool(database_url, size=4, name="test")
    await pool.open()
    async with CACHE.opened(settings, pool) as running:
        yield Processor(running.handler, pool, lanes=2, lane_size=settings.lane_size, retry_max=timedelta(milliseconds=100))
    await pool.close()


async def removed_by(database_url: str, processor: Processor, **command: list[str]) -> Any:
    event = envelope_of(InvalidateCache(**command))
    await open_tasks(database_url, event)
    await processor.process([record_of(event)])
    task = await task_of(database_url, event.id)
    assert task.status == "done"
    return task.result


async def fill(redis: Redis, *keys: str) -> None:
    await redis.mset(dict.fromkeys(keys, "v"))


async def left(redis: Redis) -> set[str]:
    return {key.decode() for key in await redis.keys("*")}


async def test_exact_keys_are_removed_and_only_those_that_were_there_are_counted(
    database_url: str, redis_server: str, redis: Redis
) -> None:
    await fill(redis, "a", "b", "c", "*")
    async with processing(database_url, redis_server) as processor:
        assert await removed_by(database_url, processor, keys=["a", "b", "b", "never", "*"]) == {"invalidated": 3}
    assert await left(redis) == {"c"}


async def test_patterns_are_counted_exactly_over_many_rounds(database_url: str, redis_server: str, redis: Redis) -> None:
    matching = [f"search:{n}" for n in range(12_000)]
    await fill(redis, *matching, *(f"other:{n}" for n in range(3000)))
    async with processing(database_url, redis_server) as processor:
        result = await removed_by(database_url, processor, patterns=["search:*", "search:1*"], keys=["search:7", "search:x"])
    assert result == {"invalidated": len(matching)}
    assert await redis.dbsize() == 3000


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("k:?", {"k:1", "k:*"}),
        ("k:[12]*", {"k:1", "k:12"}),
        ("k:\\*", {"k:*"}),
        ("*", {"k:1", "k:12", "k:*", "x"}),
        ("nothing*", set()),
    ],
)
async def test_patterns_are_those_of_redis(
    database_url: str, redis_server: str, redis: Redis, pattern: str, gone: set[str]
) -> None:
    await fill(redis, "k:1", "k:12", "k:*", "x")
    async with processing(database_url, redis_server) as processor:
        assert await removed_by(database_url, processor, patterns=[pattern]) == {"invalidated": len(gone)}
    assert await left(redis) == {"k:1", "k:12", "k:*", "x"} - gone


@pytest.mark.parametrize("prefix", ["app:", "a*", "a?[b]:", "a\\", "a[^x", "a-]"])
async def test_nothing_without_the_prefix_is_ever_touched(
    database_url: str, redis_server: str, redis: Redis, prefix: str
) -> None:
    ours = {f"{prefix}k", f"{prefix}k2", f"{prefix}*"}
    foreign = {"k", "k2", "*", "abc:k", "axb:k", "app", "a", "axk", "abk", "a]k", "axyzk2"} - ours
    await fill(redis, *ours, *foreign)
    async with processing(database_url, redis_server, prefix) as processor:
        assert await removed_by(database_url, processor, keys=["k", "missing"]) == {"invalidated": 1}
        assert await removed_by(database_url, processor, patterns=["k*"]) == {"invalidated": 1}
        assert await removed_by(database_url, processor, patterns=["*", "]*", "^*", "\\*"]) == {"invalidated": 1}
    assert await left(redis) == foreign


async def test_a_command_that_comes_again_removes_nothing_that_was_written_since(
    database_url: str, redis_server: str, redis: Redis
) -> None:
    await fill(redis, "a")
    event = envelope_of(InvalidateCache(keys=["a"]))
    async with processing(database_url, redis_server) as processor:
        await processor.process([record_of(event)])
        await fill(redis, "a")
        await processor.process([record_of(event, offset=1)])
    assert await left(redis) == {"a"}


class Slow(Keyspace):
    """A keyspace with so many keys that a scan takes a while."""

    async def remove_matching(self, pattern: str) -> int:
        await asyncio.sleep(4.5)
        return await super().remove_matching(pattern)


async def test_a_walk_that_takes_longer_than_a_transaction_may_be_silent_is_made_once(database_url: str, redis: Redis) -> None:
    lease = timedelta(seconds=2)
    await fill(redis, "a", "b")
    event = envelope_of(InvalidateCache(patterns=["*"]))
    await open_tasks(database_url, event)
    async with make_pool(database_url, size=2, name="test", lease=lease) as pool:
        handler = CacheHandler(Slow(redis, ""), lease)
        await Processor(handler, pool, lanes=1, retry_max=timedelta(milliseconds=100)).process([record_of(event)])
    task = await task_of(database_url, event.id)
    assert (task.status, task.result) == ("done", {"invalidated": 2})


class Paced(Keyspace):
    """A keyspace in which every scan takes 40 s by the clock of the heartbeats; `reached` is called before each answer."""

    def __init__(self, client: Redis, reached: Callable[[int], Awaitable[None]]) -> None:
        super().__init__(client, "")
        self._reached = reached
        self.scans = 0

    async def _find(self, cursor: int, match: bytes) -> tuple[int, list[bytes]]:
        self.scans += 1
        await self._reached(self.scans)
        return await super()._find(cursor, match)


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Move the clock of the heartbeats forward, which otherwise stands still."""
    at = 0.0

    def forward(seconds: float) -> None:
        nonlocal at
        at += seconds

    monkeypatch.setattr(heartbeat, "now", lambda: at)
    return forward


async def test_a_long_walk_is_alive_and_one_without_an_answer_hangs(
    database_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch, pass_time: Callable[[float], None]
) -> None:
    monkeypatch.setattr(cache_handler, "_SCAN", 10)
    batches, hanging, answered = Heartbeat("cache batches"), asyncio.Event(), asyncio.Event()

    async def reached(scan: int) -> None:
        pass_time(40)
        assert liveness([batches]) == {"live": True}
        if scan == 15:
            hanging.set()
            await answered.wait()

    await fill(redis, *(f"k{n}" for n in range(300)))
    event = envelope_of(InvalidateCache(patterns=["k*"]))
    await open_tasks(database_url, event)
    async with make_pool(database_url, size=2, name="test") as pool:
        keyspace = Paced(redis, reached)
        processor = Processor(CacheHandler(keyspace), pool, lanes=1, retry_max=timedelta(seconds=1), waiting=batches.beat)
        working = asyncio.create_task(processor.process([record_of(event)]))
        await asyncio.wait({working, asyncio.create_task(hanging.wait())}, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
        assert hanging.is_set()
        pass_time(30)
        assert liveness([batches])["loops"] == ["cache batches"]
        answered.set()
        await asyncio.wait_for(working, LIMIT)
    task = await task_of(database_url, event.id)
    assert (task.status, task.result, keyspace.scans > 15) == ("done", {"invalidated": 300}, True)


@pytest.mark.timeout(120)
async def test_redis_away_is_waited_for_and_every_command_has_its_effect(database_url: str, own_stack: StartStack) -> None:
    server = own_stack("redis").redis
    events = [envelope_of(InvalidateCache(keys=[f"k{n}"]), subject=f"s{n}") for n in range(20)]
    await open_tasks(database_url, *events)
    async with processing(database_url, server.url) as processor:
        async with Redis.from_url(server.url) as redis:
            await fill(redis, *(f"k{n}" for n in range(20)))
        await processor.process([record_of(events[0])])
        await asyncio.to_thread(server.stop)
        working = asyncio.create_task(processor.process([record_of(event, offset=n) for n, event in enumerate(events)]))
        done, _ = await asyncio.wait({working}, timeout=0.5)
        assert not done
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(working, LIMIT)
        async with Redis.from_url(server.url) as redis:
            assert await redis.dbsize() == 0
    assert {(await task_of(database_url, event.id)).status for event in events} == {"done"}


@pytest.mark.timeout(120)
async def test_a_primary_that_became_a_replica_is_left_without_a_restart(database_url: str, own_stack: StartStack) -> None:
    async with failing_over(own_stack) as (url, first, second, fail_over), processing(database_url, url) as processor:
        await fill(first, "a", "c:1")
        assert await removed_by(database_url, processor, keys=["a"], patterns=["c:*"]) == {"invalidated": 2}
        await fail_over()
        await fill(second, "b", "c:2", "c:3", "d")
        async with asyncio.timeout(30):
            assert await removed_by(database_url, processor, keys=["b"], patterns=["c:*"]) == {"invalidated": 3}
        assert await left(second) == {"d"}


@pytest.mark.timeout(120)
async def test_a_pattern_that_a_replica_finds_nothing_for_is_looked_for_at_its_primary(
    database_url: str, own_stack: StartStack
) -> None:
    async with failing_over(own_stack) as (url, first, second, fail_over), processing(database_url, url) as processor:
        await fill(first, "a")
        assert await removed_by(database_url, processor, patterns=["a"]) == {"invalidated": 1}
        await fail_over()
        await first.replicaof("127.0.0.1", 1)  # it is still a replica, but its link is down
        await fill(second, "c:9")
        async with asyncio.timeout(30):
            assert await removed_by(database_url, processor, patterns=["c:*"]) == {"invalidated": 1}
        assert await left(second) == set()


@pytest.mark.timeout(120)
async def test_a_walk_that_another_server_takes_over_begins_again(own_stack: StartStack) -> None:
    async with failing_over(own_stack) as (url, first, second, fail_over), Redis.from_url(url) as client:
        keyspace = Keyspace(client, "")
        await fill(first, "a")
        assert await keyspace.remove(["a"]) == 1

        async def taken_over(scan: int) -> None:
            if scan == 1:
                await fail_over()
                with pytest.raises(Transient, match="ReadOnlyError"):
                    await keyspace.remove(["a"])

        keyspace = Paced(client, taken_over)
        with pytest.raises(Transient, match="another server has taken over"):
            await keyspace.remove_matching("k:*")
        await fill(second, "k:1")
        assert await keyspace.remove_matching("k:*") == 1


async def test_data_that_is_no_command_of_the_cache_is_set_aside_and_its_task_fails(
    database_url: str, redis_server: str, redis: Redis
) -> None:
    await fill(redis, "a")
    event = envelope_of(InvalidateCache(keys=["a"]))
    broken = type(event)(**{field: getattr(event, field) for field in event.__struct_fields__} | {"data": b'{"keys": 7}'})
    await open_tasks(database_url, broken)
    async with processing(database_url, redis_server) as processor:
        await processor.process([record_of(broken)])
    task = await task_of(database_url, broken.id)
    assert (task.status, task.reason) == ("failed", "data_malformed")
    assert await left(redis) == {"a"}
