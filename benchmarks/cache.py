"""Keys a second that one call removes by pattern, beside a bare script; and the time until a call for one key is answered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import redis

from benchmarks.figures import Aim, Figure, Result, expect, median, percentiles, ratio
from benchmarks.system import system
from runtime.addresses import address

if TYPE_CHECKING:
    from benchmarks.figures import Scale
    from benchmarks.system import Report, System

KEYS: Final = 1_000_000
PROCESSES: Final = ("relay", "gateway", "worker-cache")
CALLS: Final = 1000
_A_SECOND: Final = 50
_FILLED: Final = 10_000  # keys in one command
_COUNT: Final = 5000  # keys that a SCAN examines, as in the worker
_MANY: Final = 100  # keys of a first call, which checks that the worker answers


def run(scale: Scale, report: Report) -> Result:
    keys, calls = scale.count(KEYS), scale.count(CALLS)
    removed: list[float] = []
    bare: list[float] = []
    with system("postgres", "kafka", "redis", report=report) as ours:
        ours.settings |= {"COMMAND_WAIT": "5m", "CACHE_KEY_PREFIX": "bench:"}
        client = redis.Redis.from_url(ours.stack.redis.url)
        with ours.running(*PROCESSES):
            asyncio.run(_remove(ours, client, _MANY))
            for number in range(1, scale.rounds + 1):
                report("cache", f"round {number} of {scale.rounds}: one call, {keys:,} keys")
                removed.append(keys / asyncio.run(_remove(ours, client, keys)))
                report("cache", f"round {number} of {scale.rounds}: a bare script, {keys:,} keys")
                bare.append(keys / _remove_bare(client, keys))
            report("cache", f"{calls:,} calls for one key each, {_A_SECOND} a second")
            answered = asyncio.run(_call_often(ours, calls))
        client.close()
    figures: list[Figure] = [
        median("removed by pattern", removed, "keys/s"),
        ratio("removed ÷ bare script", removed, bare, Aim(at_least=0.8)),
        median("bare SCAN and UNLINK", bare, "keys/s"),
        *percentiles("call to answer", answered, Aim(at_most=30), Aim(at_most=120)),
    ]
    return Result("cache", figures, ["a call is timed from the request to its answer: gateway, outbox, relay, Kafka and back"])


def _fill(client: redis.Redis, keys: int) -> None:
    client.flushall()
    for start in range(0, keys, _FILLED):
        client.mset({f"bench:p:{n}": n for n in range(start, min(start + _FILLED, keys))})
    expect("keys before", int(client.dbsize()), keys)


async def _remove(ours: System, client: redis.Redis, keys: int) -> float:
    """Return the seconds of a call that removes `keys` keys."""
    _fill(client, keys)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as http:
        start = time.perf_counter()
        result = await _invalidate(ours, http, {"patterns": ["p:*"]})
        seconds = time.perf_counter() - start
    expect("keys that were counted", result["invalidated"], keys)
    expect("keys left", int(client.dbsize()), 0)
    return seconds


def _remove_bare(client: redis.Redis, keys: int) -> float:
    _fill(client, keys)
    start = time.perf_counter()
    cursor, removed = 0, 0
    while True:
        cursor, found = client.scan(cursor, match="bench:p:*", count=_COUNT)
        removed += client.unlink(*found) if found else 0
        if cursor == 0:
            break
    seconds = time.perf_counter() - start
    expect("keys that the script removed", removed, keys)
    return seconds


async def _call_often(ours: System, calls: int) -> list[float]:
    """Return the duration of each call, from the time at which it was due."""
    begin = time.perf_counter() + 0.1

    async def call(number: int) -> float:
        due = begin + number / _A_SECOND
        await asyncio.sleep(due - time.perf_counter())
        await _invalidate(ours, http, {"keys": [str(number)]})
        return time.perf_counter() - due

    async with aiohttp.ClientSession() as http:
        return list(await asyncio.gather(*(call(number) for number in range(calls))))


async def _invalidate(ours: System, http: aiohttp.ClientSession, command: dict[str, Any]) -> dict[str, Any]:
    host, port = ours.settings["INTERNAL_HOST"], int(ours.settings["INTERNAL_PORT"])
    token = {"X-Internal-Token": ours.settings["INTERNAL_API_TOKEN"]}
    url = f"{address((host, port))}/internal/v1/cache/invalidate"
    async with http.post(url, json=command, headers=token) as answer:
        result: dict[str, Any] = await answer.json()
    expect("status of the answer", answer.status, 200)
    return result
