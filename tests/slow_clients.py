"""Slow clients of a server: `python -m tests.slow_clients HOST:PORT NUMBER` runs NUMBER of them until its input ends."""

from __future__ import annotations

import asyncio
import resource
import sys
from typing import Final

_HEAD: Final = b"POST /v1/webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n"
_AGAIN: Final = 2.0  # seconds
_MISSING: Final = b"GET /missing HTTP/1.1\r\nHost: x\r\n\r\n"
KINDS: Final = ("silent", "half a head", "half a body", "a byte a second", "never reads")


async def hold(host: str, port: int, number: int) -> None:
    """Run one client, which reconnects whenever the server closes its connection."""
    kind = KINDS[number % len(KINDS)]
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port, local_addr=(f"127.0.0.{2 + number % 7}", 0))
            await behave(kind, reader, writer)
            writer.transport.abort()
        except OSError:
            pass
        await asyncio.sleep(_AGAIN)


async def behave(kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send as much as this kind of client does, until the server closes the connection."""
    if kind == "half a head":
        writer.write(_HEAD)
    elif kind == "half a body":
        writer.write(_HEAD + b"\r\n" + b"x" * 50_000)
    elif kind == "never reads":
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of the transport's reading half
        writer.write(_MISSING * 20)
        await writer.drain()
        return await writer.wait_closed()
    while not reader.at_eof():
        if kind == "a byte a second":
            writer.write(b"G")
        try:
            await asyncio.wait_for(reader.read(65536), 1)
        except TimeoutError:
            continue
    return None


async def main(address: str, number: int) -> None:
    host, _, port = address.rpartition(":")
    holding = [asyncio.create_task(hold(host, int(port), n)) for n in range(number)]
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(sys.stdin, over.set)
    sys.stdout.write("holding\n")
    sys.stdout.flush()
    await over.wait()
    for task in holding:
        task.cancel()


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
