"""Answers of a provider behind Apprise, over a real connection: a message is sent only if the provider has received it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from runtime.addresses import LOOPBACK
from streams.notifications.mails import Message
from streams.notifications.senders import SendFailed, SendReason, sender_of
from streams.notifications.texts import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MESSAGE = Message("<1@tallyhook.local>", "+4915112345678", Text("It has arrived"))


@asynccontextmanager
async def redirecting(status: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Run a provider that has moved, and answers 200 to everything at its new place; yield its port and what it received."""
    received = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        sent = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b":0")
        body = await reader.readexactly(int(sent.partition(b":")[2]))
        moved = b"/new" not in head
        if not moved:
            received.append(body)
        first = f"{status} Moved\r\nLocation: /new" if moved else "200 OK"
        writer.write(f"HTTP/1.1 {first}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_message_whose_provider_redirects_is_not_sent(status: int) -> None:
    """A redirected POST became a GET without the message, whose 200 counted as sent."""
    async with redirecting(status) as (port, received):
        sender = sender_of(f"json://{LOOPBACK}:{port}/old", seconds=10, threads=1)
        with pytest.raises(SendFailed) as failed:
            await sender.send(MESSAGE)
        sender.close()
        assert (failed.value.reason, failed.value.permanent, received) == (SendReason.PROVIDER_REFUSED, False, [])


async def test_a_redirect_is_followed_where_the_address_allows_it() -> None:
    async with redirecting(308) as (port, received):
        sender = sender_of(f"json://{LOOPBACK}:{port}/old?redirect=yes", seconds=10, threads=1)
        await sender.send(MESSAGE)
        sender.close()
        assert [b"It has arrived" in body for body in received] == [True]
