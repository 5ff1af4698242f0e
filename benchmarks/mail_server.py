"""A cheap mail server: it accepts and counts every mail, with as little work as SMTP allows."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import uvloop

from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator

_END_OF_MAIL: Final = b"\r\n.\r\n"
_END_LIMIT: Final = 5.0  # seconds
_BACKLOG: Final = 128


class MailServer:
    """The server while it runs: its address in Apprise's notation, and its counts."""

    def __init__(self, port: int, taken: Any, recipients: Any) -> None:
        self.url: Final = f"mailto://{LOOPBACK}:{port}/?from=no-reply@tallyhook.local&name=Tallyhook"
        self._taken = taken
        self._recipients = recipients

    @property
    def taken(self) -> int:
        """The number of mails so far."""
        return int(self._taken.value)

    @property
    def recipients(self) -> int:
        """The number of different recipients."""
        return int(self._recipients.value)


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run the server in another process, on a free port, until the block ends."""
    context = multiprocessing.get_context("spawn")
    taken, recipients = context.Value("Q", 0, lock=False), context.Value("Q", 0, lock=False)
    with socket.create_server((LOOPBACK, 0), backlog=_BACKLOG) as listener:
        process = context.Process(target=_serve, args=(listener, taken, recipients), daemon=True)
        process.start()
        try:
            yield MailServer(listener.getsockname()[1], taken, recipients)
        finally:
            process.terminate()
            process.join(_END_LIMIT)
            process.kill()


def _serve(listener: socket.socket, taken: Any, recipients: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent process handles it
    uvloop.run(_until_ended(listener, taken, recipients))


async def _until_ended(listener: socket.socket, taken: Any, recipients: Any) -> None:
    known: set[bytes] = set()

    def count(recipient: bytes) -> None:
        known.add(recipient)
        taken.value += 1
        recipients.value = len(known)

    server = await asyncio.get_running_loop().create_server(lambda: _Session(count), sock=listener)
    await server.serve_forever()


class _Session(asyncio.Protocol):
    """One connection (RFC 5321); several commands may arrive together (RFC 2920)."""

    def __init__(self, count: Any) -> None:
        self._count = count
        self._buffer = b""
        self._recipient = b""
        self._in_mail = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # TCP has this transport
        self._transport.write(b"220 mail server of the benchmark\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = b""
        while True:
            end = self._buffer.find(_END_OF_MAIL if self._in_mail else b"\r\n")
            if end < 0:
                break
            if self._in_mail:
                self._buffer = self._buffer[end + len(_END_OF_MAIL) :]
                self._in_mail = False
                self._count(self._recipient)
                answers += b"250 taken\r\n"
            else:
                line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
                answers += self._answer(line)
        if answers:
            self._transport.write(answers)

    def _answer(self, line: bytes) -> bytes:
        match line[:4].upper():
            case b"EHLO":
                return b"250-benchmark\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
            case b"RCPT":
                self._recipient = line
            case b"DATA":
                self._in_mail = True
                return b"354 go on\r\n"
            case b"QUIT":
                self._transport.close()
                return b"221 bye\r\n"
        return b"250 ok\r\n"
