"""The bytes of a CRM's answer, over a real connection: a status that can be read decides about the lead."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from runtime.addresses import LOOPBACK
from streams.leads import crm
from streams.leads.crm import Request, opened_crm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.leads.crm import Crm
    from streams.leads.decisions import Answer

LIMIT = timedelta(seconds=5)
OK = b"HTTP/1.1 200 OK\r\n"


class Scripted:
    """A server that answers each request with the same bytes; it keeps the connection open if it is not to end it."""

    def __init__(self, answer: bytes, *, ends: bool = True) -> None:
        self.answer = answer
        self.ends = ends
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(2)
                writer.write(self.answer)
                await writer.drain()
                if self.ends:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(answer: bytes, *, ends: bool = True) -> AsyncIterator[tuple[Crm, Scripted]]:
    served = Scripted(answer, ends=ends)
    server = await asyncio.start_server(served.serve, LOOPBACK, 0)
    async with server, opened_crm(LIMIT, (ip_network("127.0.0.0/8"),), lambda: datetime.now(UTC)) as client:
        served.url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/"
        yield client, served


async def answer_to(answer: bytes) -> Answer:
    async with scripted(answer) as (client, served):
        return await client.post(Request(served.url, {}, b"{}"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}</html>",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n{}",
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}</html>",
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"Content-Length: -1\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        OK + b"X-Policy: " + b"x" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
        OK + b"".join(b"X-%d: x\r\n" % number for number in range(500)) + b"\r\n",
        OK + b"no header\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 9000 + b"\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=lambda answer: answer[:70].decode(),
)
async def test_a_lead_is_delivered_although_the_answer_is_malformed_after_its_status(answer: bytes) -> None:
    """It was taken for a lost connection: the CRM got the lead again at each attempt, and at last it was exhausted."""
    assert (await answer_to(answer)).delivered


async def test_the_status_of_a_malformed_refusal_is_known_too() -> None:
    answer = await answer_to(b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 1\r\n\r\n{}")
    assert (answer.status, answer.error) == (422, "http_422")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    ],
)
async def test_an_answer_without_a_status_is_none(answer: bytes) -> None:
    assert await answer_to(answer) == (None, "connection_lost", None, None)


async def test_the_status_of_an_answer_is_not_that_of_the_one_before_on_the_same_connection() -> None:
    async with scripted(OK + b"Content-Length: 0\r\n\r\n", ends=False) as (client, served):
        assert (await client.post(Request(served.url, {}, b"{}"))).delivered
        served.answer = b"hello"
        assert (await client.post(Request(served.url, {}, b"{}"))).error == "connection_lost"
        assert served.connections == 1


async def test_a_connection_is_not_used_again_when_the_server_may_be_about_to_close_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crm, "_IDLE_MAX", 0.1)
    async with scripted(OK + b"Content-Length: 0\r\n\r\n", ends=False) as (client, served):
        for pause in (0.0, 0.0, 0.3):
            await asyncio.sleep(pause)
            assert (await client.post(Request(served.url, {}, b"{}"))).delivered
        assert served.connections == 2
