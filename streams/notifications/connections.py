"""Connections to one mail server: each carries one mail after the other, and is closed soon after the last."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupported,
    SMTPResponseException,
    SMTPTimeoutError,
)

from streams.notifications.transaction import TAKING, transact

_IDLE: Final = 5.0
"""Seconds after which an idle connection is closed. Servers close theirs later: RFC 5321, 4.5.3.2.7, asks for five minutes."""
_MAILS: Final = 100
"""Mails over one connection: servers limit them too, and spread new connections over their hosts."""
_REFUSALS: Final = (SMTPResponseException, SMTPNotSupported)
"""Errors after which the connection still serves: they are the server's answers about one mail."""
_PROBES: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class _Idle(NamedTuple):
    client: SMTP
    mails: int
    until: float


class Connections:
    """The connections that are open; `make` returns a client that is not connected yet, and a mail has these `seconds`."""

    def __init__(self, make: Callable[[], SMTP], seconds: float) -> None:
        self._make = make
        self._seconds = seconds
        self._idle: list[_Idle] = []
        self._closed = False

    async def send(self, mail: bytes, sender: str, recipient: str) -> None:
        """Send a mail to exactly one recipient, even if its headers could be read otherwise. Raises what aiosmtplib raises."""
        limit = asyncio.timeout(self._seconds)
        try:
            async with limit, self._connection() as client:
                await transact(client, mail, sender, recipient, lambda: _extend(limit))
        except TimeoutError as error:
            if limit.expired():
                raise SMTPTimeoutError("the attempt took too long") from error
            raise

    def close(self) -> None:
        """Close idle connections now, and the others after their mail."""
        self._closed = True
        self._close_idle()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[SMTP]:
        client, mails = await self._reused() or (await self._connected(), 0)
        serves = False
        try:
            yield client
            serves = True
        except _REFUSALS:
            serves = True
            raise
        finally:
            if serves and client.is_connected and mails + 1 < _MAILS and not self._closed:
                self._keep(client, mails + 1)
            else:
                client.close()

    async def _connected(self) -> SMTP:
        """Return a client that has said hello. Raises SMTPConnectError if the server refuses: it has heard of no mail yet."""
        client = self._make()
        connected = False
        try:
            await client.connect()
            _keep_alive(client)
            await _say_hello(client)
            connected = True
        except SMTPAuthenticationError:
            raise
        except SMTPResponseException as error:
            raise SMTPConnectError(f"{error.code} {error.message}") from error
        finally:
            if not connected:
                client.close()
        return client

    async def _reused(self) -> tuple[SMTP, int] | None:
        """Return a connection on which the server still answers: if it broke during a mail, that could be delivered twice."""
        while self._idle:
            client, mails, _ = self._idle.pop()
            alive = False
            try:
                await client.rset()
                alive = True
            except (SMTPException, OSError):
                continue
            finally:
                if not alive:
                    client.close()
            return client, mails
        return None

    def _keep(self, client: SMTP, mails: int) -> None:
        loop = asyncio.get_running_loop()
        self._idle.append(_Idle(client, mails, loop.time() + _IDLE))
        if len(self._idle) == 1:
            loop.call_later(_IDLE, self._sweep)

    def _sweep(self) -> None:
        """Close connections that have been idle for too long; the newest are used first, so the oldest are in front."""
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0].until <= loop.time():
            self._idle.pop(0).client.close()
        if self._idle:
            loop.call_at(self._idle[0].until, self._sweep)

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().client.close()


def _extend(limit: asyncio.Timeout) -> None:
    """Give the server its time. An attempt that is over ends here: Python 3.11 loses a cancellation that meets an answer."""
    if (task := asyncio.current_task()) and task.cancelling():
        raise asyncio.CancelledError
    limit.reschedule(asyncio.get_running_loop().time() + TAKING)


def _keep_alive(client: SMTP) -> None:
    """Have the system notice within half a minute that the host is gone: it would hold up a message for as long as a scan may."""
    connection = client.get_transport_info("socket")
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if option := getattr(socket, name, None):  # not every system has all of them
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def _say_hello(client: SMTP) -> None:
    """Send EHLO, or else HELO, unless the client has done so to log in; otherwise it would with the first mail."""
    if client.is_ehlo_or_helo_needed:
        try:
            await client.ehlo()
        except SMTPHeloError:
            await client.helo()
