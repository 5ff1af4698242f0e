"""A proxy before a server, which can be cut silently or lead to another server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Link:
    """Carries bytes both ways; while it is cut it accepts bytes and forwards none, so that neither end notices."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._whole = asyncio.Event()
        self._whole.set()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def lead_to(self, server: int) -> None:
        """Carry new connections to another port; those that are open stay, as after a failover that closes none."""
        self._server = server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await self._whole.wait()
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._server)
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65_536):
                await self._whole.wait()
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def linked(port: int, server: int) -> AsyncIterator[Link]:
    """A line from one port to the other."""
    link = Link(server)
    listening = await asyncio.start_server(link.serve, LOOPBACK, port)
    try:
        yield link
    finally:
        listening.close()
