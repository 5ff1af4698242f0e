"""The guard of `conftest.py`."""

from __future__ import annotations

import asyncio
import socket
import urllib.request

import pytest

from tests.unit.conftest import NetworkUsedError


def test_neither_an_address_nor_a_name_of_elsewhere_can_be_reached() -> None:
    with pytest.raises(NetworkUsedError, match=r"192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80))
    with pytest.raises(NetworkUsedError, match=r"example\.com"):
        urllib.request.urlopen("http://example.com", timeout=1)


async def test_nor_by_an_event_loop() -> None:
    with pytest.raises(NetworkUsedError, match=r"192\.0\.2\.1"):
        await asyncio.open_connection("192.0.2.1", 80)
    with pytest.raises(NetworkUsedError, match=r"example\.com"):
        await asyncio.open_connection("example.com", 80)


async def test_this_machine_can() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "localhost", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        assert await reader.read() == b""
        writer.close()
