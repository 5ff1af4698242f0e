"""The least that a CRM can be: it takes whatever is posted to it with 204, and below `/hang` it never answers."""

from __future__ import annotations

import asyncio
from typing import Final

_END: Final = b"\r\n\r\n"
_HANGING: Final = b"post /hang"
_TAKEN: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


def serve(port: int) -> None:
    """Serve until the process is ended."""
    asyncio.run(_serve(port))


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", port)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(_END)).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            if head.startswith(_HANGING):
                await reader.read()  # until the caller gives up
                break
            writer.write(_TAKEN)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
