"""The stream that notifies open pages of commits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from console import live
from tests.console import COOKIE, signed_in, visitor
from tests.simulators.stripe import Payment
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.gateways import Gateway, StartGateway

CHANGED = b"data: changed\n"


@asynccontextmanager
async def following(gateway: Gateway, database_url: str) -> AsyncIterator[aiohttp.ClientResponse]:
    operator = await visitor(gateway, database_url)
    async with gateway.client.get(f"{gateway.internal}/console/live", headers={"Cookie": f"{COOKIE}={operator.key}"}) as stream:
        yield stream


async def until_notified(stream: aiohttp.ClientResponse) -> None:
    while await stream.content.readline() != CHANGED:
        assert not stream.content.at_eof()


async def listeners(gateway: Gateway) -> int:
    return len([row for row in await gateway.rows("pg_stat_activity") if row["query"] == "listen outbox"])


async def test_a_commit_is_notified(gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_SPACING", 0.0)
    async with following(gateway, database_url) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        for _ in range(2):  # at its start, and once it listens: neither knows of earlier commits
            await until_notified(stream)
        for number in range(2):
            await gateway.post(Payment(id=f"pi_{number}").succeeded(event_id=f"evt_{number}"))
            await until_notified(stream)


WITHOUT_CLOCK = "const real = setTimeout; window.setTimeout = (then, ms, ...given) => (ms < 3000 ? real(then, ms, ...given) : 0);"
"""No timer of three seconds or more ever fires: a page never polls."""


async def test_a_page_shows_a_commit_without_polling(gateway: Gateway) -> None:
    async with signed_in(gateway, "/console/deliveries") as looked:
        await looked.page.add_init_script(WITHOUT_CLOCK)
        async with looked.page.expect_response("**/console/live"):
            await looked.page.reload()
        await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"))
        await looked.page.locator("#rows li").wait_for()
        assert looked.faults == []


async def test_a_stranger_follows_nothing(gateway: Gateway, database_url: str) -> None:
    answer = await (await visitor(gateway, database_url, role=None)).get("/console/live")
    assert (answer.status, "default-src 'none'" in answer.headers["Content-Security-Policy"]) == (401, True)


async def test_the_gateway_listens_while_a_page_follows(
    gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_HEARTBEAT", 0.05)
    monkeypatch.setattr(live, "_SPACING", 0.0)

    async def listening(number: int) -> Any:
        return await listeners(gateway) == number or None

    assert await listeners(gateway) == 0
    async with following(gateway, database_url) as one, following(gateway, database_url) as other:
        await until_notified(one)
        await until_notified(other)
        assert await listeners(gateway) == 1
        one.close()
        await gateway.post(Payment(id="pi_1").succeeded(event_id="evt_1"))
        await until_notified(other)
    await eventually(lambda: listening(0))


async def test_with_a_full_gateway_a_page_polls(gateway: Gateway, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_STREAMS_MAX", 1)
    async with following(gateway, database_url) as first, following(gateway, database_url) as second:
        await until_notified(first)
        assert (first.status, second.status) == (200, 204)


async def test_commits_that_come_close_together_are_not_notified_one_by_one(
    start_gateway: StartGateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_SPACING", 3600.0)
    async with aiohttp.ClientSession() as client:
        async with start_gateway(SHUTDOWN_GRACE="60s") as gateway:
            operator = await visitor(gateway, database_url)
            stream = await client.get(f"{gateway.internal}/console/live", headers={"Cookie": f"{COOKIE}={operator.key}"})
            await until_notified(stream)
            for number in range(3):
                await gateway.post(Payment(id=f"pi_{number}").succeeded(event_id=f"evt_{number}"))
        assert CHANGED not in await stream.content.read()


async def test_a_stream_ends_whole_when_the_gateway_stops(start_gateway: StartGateway, database_url: str) -> None:
    async with aiohttp.ClientSession() as client:
        async with start_gateway(SHUTDOWN_GRACE="60s") as gateway:
            operator = await visitor(gateway, database_url)
            stream = await client.get(f"{gateway.internal}/console/live", headers={"Cookie": f"{COOKIE}={operator.key}"})
            await until_notified(stream)
        assert (await stream.content.read()).endswith(b"\n")  # it raises if the stream was cut
