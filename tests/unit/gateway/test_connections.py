"""A listener waits for no client without a limit, and counts each reason; a bad request costs no more than an answer."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
import trustme
from aiohttp import web
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.connections import Guest, Limits, Memory, Phase, choose_to_close
from gateway.listener import Listener
from gateway.middlewares import trace_and_refuse
from gateway.server import Runner
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POST: Final = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
QUICK: Final = Limits(20, head=0.3, body=0.3, answer=0.3, idle=0.3)
PATIENT: Final = Limits(20, head=60, body=60, answer=60, idle=60)
"""With one of them replaced, a busy machine passes no other one."""


class SmallServer:
    """A listener of a small application, and clients that send it raw bytes."""

    def __init__(self, runner: Runner, port: int) -> None:
        self.runner = runner
        self.port = port
        self.free = asyncio.Event()
        self.served = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def send(self, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        self._writers.append(writer)
        for part in parts:
            writer.write(part)
        return reader, writer

    async def answers(self, *parts: bytes) -> bytes:
        """Return everything that the server sends until it closes the connection."""
        reader, _ = await self.send(*parts)
        try:
            return await asyncio.wait_for(reader.read(-1), 20)
        except ConnectionResetError:
            return b""

    def leave(self) -> None:
        """Close the connections of all clients."""
        for writer in self._writers:
            writer.transport.abort()

    @staticmethod
    def ended(why: str) -> float:
        labels = {"listener": "door", "why": why}
        return REGISTRY.get_sample_value("tallyhook_connections_ended_total", labels) or 0.0

    async def until_ended(self, why: str, before: float) -> None:
        async def look() -> bool | None:
            return self.ended(why) > before or None

        await eventually(look)

    async def until_open(self, number: int) -> None:
        async def look() -> bool | None:
            return REGISTRY.get_sample_value("tallyhook_connections_open", {"listener": "door"}) == number or None

        await eventually(look)


@asynccontextmanager
async def small_server(
    limits: Limits = QUICK, memory: int = 2**26, secure: ssl.SSLContext | None = None
) -> AsyncIterator[SmallServer]:
    app = web.Application(middlewares=[trace_and_refuse], client_max_size=100_000)

    async def take(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def wait(_: web.Request) -> web.Response:
        server.served += 1
        await server.free.wait()
        return web.Response(text="done")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 20_000_000)

    app.router.add_route("*", "/", take)
    app.router.add_get("/wait", wait)
    app.router.add_get("/large", large)
    runner = Runner(app, listener="door", limits=limits, memory=Memory(memory), max_body_bytes=100_000, shutdown_timeout=1)
    await runner.setup()
    listener = Listener(runner.connections, runner.serve, secure)
    server = SmallServer(runner, await listener.open("127.0.0.1", 0))
    try:
        yield server
    finally:
        server.free.set()
        server.leave()
        await listener.close()
        await runner.cleanup()


@pytest.mark.parametrize(
    ("why", "sent"),
    [
        ("head", b""),
        ("head", b"GET / HT"),
        ("head", POST),
        ("head", GET[:-4] + b"\r\nX-A: "),
        ("idle", GET),
        ("body", POST + b"Content-Length: 10\r\n\r\n123"),
        ("body", POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        ("body", POST + b"Transfer-Encoding: chunked\r\n\r\n3;x=" + b"y" * 50_000),
        ("body", POST + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n"),
        ("answer", b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("answer", b"GET /large HTTP/1.0\r\n\r\n"),
    ],
)
async def test_the_connection_of_a_late_client_is_closed(why: str, sent: bytes) -> None:
    async with small_server(PATIENT._replace(**{why: 0.3})) as server:
        before = server.ended(why)
        reader, _ = await server.send(sent)
        if why != "answer":
            answer = await asyncio.wait_for(reader.read(-1), 20)
            assert (b"HTTP/1.1 408" in answer) == (why == "body")
        await server.until_ended(why, before)
        await server.until_open(0)


async def test_a_byte_now_and_then_does_not_help() -> None:
    async with small_server(PATIENT._replace(head=0.3)) as server:
        before = server.ended("head")
        _, writer = await server.send(GET[:-2] + b"X: ")

        async def trickle() -> bool | None:
            writer.write(b"E")
            return server.ended("head") > before or None

        await eventually(trickle)
        await server.until_open(0)


async def test_when_it_is_full_the_longest_waiting_connection_is_closed_and_good_clients_are_served() -> None:
    async with small_server(Limits(8)) as server:
        silent = [await server.send() for _ in range(8)]
        for _ in range(5):
            assert b"200 OK" in await server.answers(b"GET / HTTP/1.0\r\n\r\n")
        assert await silent[0][0].read(-1) == b""
        silent[-1][1].write(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in await silent[-1][0].read(-1)


async def test_if_every_connection_is_busy_a_new_one_gets_a_retry_later() -> None:
    async with small_server(Limits(2)) as server:
        busy = [await server.send(b"GET /wait HTTP/1.0\r\n\r\n") for _ in range(2)]

        async def both() -> bool | None:
            return server.served == 2 or None

        await eventually(both)
        answer = await server.answers()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 2\r\n" in answer
        assert b'"reason":"gateway_full"' in answer
        server.free.set()
        for reader, _ in busy:
            assert (await reader.read(-1)).endswith(b"done")
        assert b"200 OK" in await server.answers(b"GET / HTTP/1.0\r\n\r\n")


async def test_half_read_bodies_share_a_bound_and_the_oldest_is_refused() -> None:
    async with small_server(Limits(20), memory=200_000) as server:
        half = [await server.send(POST + b"Content-Length: 90000\r\n\r\n", b"x" * 60_000) for _ in range(3)]
        fourth = await server.answers(POST + b"Connection: close\r\nContent-Length: 60000\r\n\r\n", b"x" * 60_000)
        assert b"200 OK" in fourth
        first = await half[0][0].read(-1)
        assert first.startswith(b"HTTP/1.1 503")
        assert b"Retry-After" in first
        half[2][1].write(b"x" * 30_000)
        assert b"200 OK" in await half[2][0].readline()
        server.leave()
        await server.until_open(0)
        assert not server.runner.connections.held


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        POST + b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"186a0\r\n" + b"x" * 100_000 + b"\r\n") * 10,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 3_000_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 500_000,
    ],
)
async def test_a_request_that_is_too_long_is_refused_or_closed_and_holds_nothing(sent: bytes) -> None:
    async with small_server() as server:
        answer = await server.answers(sent)
        assert answer[:12] in {b"", b"HTTP/1.0 400", b"HTTP/1.1 400", b"HTTP/1.1 408", b"HTTP/1.1 413"}
        await server.until_open(0)
        assert not server.runner.connections.held


async def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_bug_of_ours() -> None:
    with capture_logs() as lines:
        async with small_server(PATIENT) as server:
            reader, _ = await server.send(POST + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
            assert b"100 Continue" in await reader.readline()
            server.leave()
            await server.until_open(0)
    assert [(each["event"], each["reason"]) for each in lines] == [("request_refused", "request_malformed")]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with small_server(PATIENT._replace(idle=0.3)) as server:
        parts = [POST + b"Content-Length: %d\r\n\r\n" % n + b"x" * n for n in range(100)]
        answer = await server.answers(b"".join(parts))
        assert [int(each.split(b"\r\n\r\n")[1].split(b"HTTP")[0]) for each in answer.split(b"200 OK")[1:]] == list(range(100))


async def test_a_handshake_has_its_limit_and_counts_as_a_connection() -> None:
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(secure)
    async with small_server(QUICK._replace(connections=4), secure=secure) as server:
        late, displaced = server.ended("handshake"), server.ended("displaced")
        for _ in range(8):
            await server.send()
        await server.until_ended("displaced", displaced)
        await server.until_open(0)
        assert server.ended("handshake") > late


def waiting(client: str, *since: float) -> list[Guest]:
    return [Guest(client, began) for began in since]


def test_the_client_with_the_most_connections_loses_its_oldest_first() -> None:
    many, few = waiting("many", 1, 2, 3, 4), waiting("few", 0, 5)
    assert choose_to_close(few + many, 3) == [many[0], many[1], few[0]]


def test_no_connection_with_a_request_in_flight_is_closed() -> None:
    busy, idle = waiting("a", 0, 1)
    busy.phase = Phase.REQUEST
    assert choose_to_close([busy, idle], 2) == [idle]
