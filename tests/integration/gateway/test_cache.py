"""`POST /internal/v1/cache/invalidate`: what it accepts, refuses and stores; the test plays the worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from gateway.commands.cache import Invalidate, is_too_broad
from tests.gateways import SERVICE, Gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    StartGateway = Callable[..., AbstractAsyncContextManager[Gateway]]


async def invalidate(gateway: Gateway, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    url = f"{gateway.internal}/internal/v1/cache/invalidate"
    async with gateway.client.post(url, json=body, headers=SERVICE | headers) as response:
        return response.status, await response.json(content_type=None)


async def test_it_is_answered_with_the_number_that_the_worker_removed(gateway: Gateway) -> None:
    asking = asyncio.create_task(invalidate(gateway, {"keys": ["a"], "patterns": ["b:*"]}))
    event = await gateway.settle({"invalidated": 7})
    assert await asking == (200, {"invalidated": 7})
    assert (event["topic"], event["type"], event["kind"]) == ("cache.commands", "cache.invalidate", "cache.invalidate")
    assert orjson.loads(event["data"]) == {"keys": ["a"], "patterns": ["b:*"]}


async def test_it_is_accepted_with_its_task_where_the_worker_takes_longer_than_a_caller_waits(
    start_gateway: StartGateway,
) -> None:
    async with start_gateway(COMMAND_WAIT="50ms") as gateway:
        status, answer = await invalidate(gateway, {"keys": ["a"]})
        assert (status, answer["accepted"]) == (202, True)
        await gateway.settle({"invalidated": 1})
        task = await (await gateway.get(f"/internal/v1/tasks/{answer['taskId']}", SERVICE)).json()
        assert (task["status"], task["result"]) == ("done", {"invalidated": 1})


async def test_a_failed_command_is_answered_with_its_task(gateway: Gateway) -> None:
    asking = asyncio.create_task(invalidate(gateway, {"keys": ["a"]}))
    await gateway.settle("handler_failed")
    status, answer = await asking
    assert (status, answer["accepted"]) == (202, True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "field_invalid"),
        ({"keys": [], "patterns": []}, "field_invalid"),
        ({"keys": "a"}, "field_invalid"),
        ({"keys": [""]}, "field_invalid"),
        ({"keys": ["k" * 1025]}, "field_invalid"),
        ({"keys": ["k"] * 1001}, "field_invalid"),
        ({"patterns": ["p:*"] * 21}, "field_invalid"),
        ({"patterns": ["*"]}, "pattern_too_broad"),
        ({"patterns": ["ok:*", "**"]}, "pattern_too_broad"),
        ({"patterns": ["?*"]}, "pattern_too_broad"),
        ({"patterns": ["[^a]*"]}, "pattern_too_broad"),
        ({"patterns": ["*[^"]}, "pattern_too_broad"),
        ({"patterns": ["[^\\]]*"]}, "pattern_too_broad"),
        ({"patterns": ["[^]*"]}, "pattern_too_broad"),
        ({"patterns": ["[!-~]*"]}, "pattern_too_broad"),
        ({"patterns": ["*e*"]}, "pattern_too_broad"),
        ({"patterns": ["a*a*a*a*a*a*b"]}, "field_invalid"),
    ],
)
async def test_a_refused_command_is_not_stored(gateway: Gateway, body: Any, reason: str) -> None:
    status, answer = await invalidate(gateway, body)
    assert (status, answer["reason"]) == (422, reason)
    assert await gateway.rows("outbox") == []


CHARACTERS = "ab*?[]^-\\é"  # few, so that patterns and keys meet
KEYS = st.lists(st.text(CHARACTERS, min_size=1, max_size=6), min_size=1, max_size=12)


def beginning(pattern: str) -> bytes:
    """The bytes before the first wildcard, as Redis reads them: a backslash makes the next one literal."""
    found, characters = "", iter(pattern)
    for character in characters:
        if character in "*?[":
            break
        found += next(characters, character) if character == "\\" else character
    return found.encode()


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example empties the server
@given(pattern=st.text(CHARACTERS, min_size=1, max_size=9), keys=KEYS)
def test_the_server_finds_only_keys_that_begin_as_a_pattern_does_that_passed(
    redis_server: str, pattern: str, keys: list[str]
) -> None:
    if is_too_broad(Invalidate(patterns=[pattern])):
        return
    with Redis.from_url(redis_server) as redis:
        redis.flushdb()
        redis.mset(dict.fromkeys([*keys, *(pattern[:1] + key for key in keys)], "v"))
        found = list(redis.scan_iter(match=pattern.encode(), count=100))
    assert beginning(pattern)
    assert [key for key in found if not key.startswith(beginning(pattern))] == []


async def test_a_pattern_of_wildcards_alone_passes_where_the_setting_allows_it(start_gateway: StartGateway) -> None:
    async with start_gateway(CACHE_ALLOW_ALL="true", COMMAND_WAIT="0") as gateway:
        assert (await invalidate(gateway, {"patterns": ["*"]}))[0] == 202


async def test_the_runtime_configuration_lets_it_pass_or_forbids_it_whatever_the_setting(start_gateway: StartGateway) -> None:
    async with start_gateway(CACHE_ALLOW_ALL="true", COMMAND_WAIT="0") as gateway:
        for allowed, status in ((False, 422), (True, 202), (None, 202)):  # null gives back the setting
            changed = await gateway.ask("/internal/v1/config", {"key": "cache.allow_all", "value": allowed})
            assert changed.status == 200
            assert (await invalidate(gateway, {"patterns": ["*"]}))[0] == status


async def test_it_needs_a_token_and_json(gateway: Gateway) -> None:
    status, answer = await invalidate(gateway, {"keys": ["a"]}, **{"X-Internal-Token": "wrong"})
    assert (status, answer["reason"]) == (401, "token_wrong")
    status, answer = await invalidate(gateway, {"keys": ["a"]}, **{"Content-Type": "text/plain"})
    assert (status, answer["reason"]) == (415, "content_type_not_json")
