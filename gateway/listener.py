"""
A listening socket that accepts a limited number of connections: a part of the files that the process may open.

Python's own servers accept every connection, and close it without an answer when no file is left. Here a connection is accepted
only when there is room, and it is counted from that moment on, also during its TLS handshake.
"""

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import structlog

from gateway.clients import Clients
from gateway.connections import Connections, Guest
from gateway.errors import GatewayError, Reason
from gateway.problems import response_of

log = structlog.get_logger()

_BACKLOG: Final = (
    4096  # connections that the kernel holds for us while the loop is busy; past it a client tries again after a second
)
_ACCEPTS: Final = 64  # connections accepted in one round, before requests are handled again
_PAUSE: Final = 0.001  # seconds until the connections that were closed for others are gone
_REST: Final = 0.25  # seconds until accepting is tried again after an error
_PASSING: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Factory = Callable[[Guest], asyncio.Protocol]


class Listener:
    """The sockets of one address, between `open` and `close`."""

    def __init__(self, connections: Connections, protocol: Factory, secure: ssl.SSLContext | None = None) -> None:
        self._connections = connections
        self._protocol = protocol
        self._secure = secure
        self._peers = Clients()
        self._loop = asyncio.get_running_loop()
        self._sockets: list[socket.socket] = []
        self._full = _answer(GatewayError(Reason.GATEWAY_FULL, "too many connections are open"))

    async def open(self, host: str, port: int) -> int:
        """
        Listen on every address of the host; returns the port.

        Raises OSError.
        """
        places = await asyncio.to_thread(_places_at, host, port)
        return self.listen([socket.create_server(address, family=family) for family, address in places])

    def listen(self, sockets: Iterable[socket.socket]) -> int:
        """Listen on these bound sockets; returns the port."""
        for listening in sockets:
            listening.listen(_BACKLOG)
            listening.setblocking(False)
            self._sockets.append(listening)
            self._loop.add_reader(listening, self._accept, listening)
        return int(self._sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Accept no more connections."""
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            self._loop.remove_reader(listening)
            listening.close()

    def _accept(self, listening: socket.socket) -> None:
        for number in range(_ACCEPTS):
            refusing = False
            if self._connections.full:
                if number:
                    return
                if self._connections.make_room():
                    self._pause(listening, _PAUSE)
                    return
                refusing = True
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _PASSING:
                    log.error("accept_failed", reason="files_exhausted", error=str(error))  # noqa: TRY400  # a trace adds nothing
                    self._pause(listening, _REST)
                    return
                continue  # this client has left already
            if refusing:
                self._refuse(accepted)
            else:
                self._register(accepted, peer[0])

    def _pause(self, listening: socket.socket, seconds: float) -> None:
        self._loop.remove_reader(listening)
        self._loop.call_later(seconds, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _refuse(self, accepted: socket.socket) -> None:
        """Refuse a new connection, since all others have a request under way."""
        self._connections.count_refused()
        with accepted:
            accepted.setblocking(False)
            if self._secure is None:
                try:
                    accepted.send(self._full)
                except OSError:
                    return

    def _register(self, accepted: socket.socket, address: str) -> None:
        accepted.setblocking(False)
        guest = self._connections.enter(self._peers.named(address, ""))
        guest.task = self._loop.create_task(self._connect(guest, accepted))

    async def _connect(self, guest: Guest, accepted: socket.socket) -> None:
        # `Connections` closes a late handshake before this timeout, and counts it.
        patience = 2 * self._connections.limits.head if self._secure else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._protocol(guest),
                accepted,
                ssl=self._secure,
                ssl_handshake_timeout=patience,
                ssl_shutdown_timeout=patience,
            )
        except OSError:  # no TLS, no certificate of our CA, or the client has left; asyncio's timeout is an OSError too
            pass
        finally:
            guest.task = None
            if guest.line is None:
                self._connections.leave(guest)


_Place = tuple[socket.AddressFamily, tuple[str, int]]


def _places_at(host: str, port: int) -> list[_Place]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found))


def bind_shared(host: str, port: int, number: int) -> list[list[socket.socket]]:
    """
    Bind every address of the host for `number` processes, among which the kernel distributes connections (SO_REUSEPORT).

    The sockets do not listen yet. A port on which another program listens is refused, even if the kernel would share it.

    Raises OSError.
    """
    places: list[_Place] = []
    for family, (name, _) in _places_at(host, port):
        with socket.create_server((name, port), family=family) as alone:
            port = alone.getsockname()[1]  # if a free port is requested, every address gets the same one
        places.append((family, (name, port)))
    return [[_bound(family, address) for family, address in places] for _ in range(number)]


def _bound(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(address)
    return made


def _answer(error: GatewayError) -> bytes:
    """The bytes of a refusal as an HTTP response."""
    response = response_of(error)
    assert isinstance(response.body, bytes)  # noqa: S101  # the body of a problem always is
    lines = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in response.headers.items())]
    lines += [f"Content-Length: {len(response.body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + response.body


_WANTED: Final = 65_536
_RESERVE: Final = 192  # for Postgres, Redis, Kafka, and the listeners themselves
_PUBLIC_MAX: Final = 4096  # by default; each connection takes about 30 KB
_INTERNAL_MAX: Final = 1024


class ConnectionLimits(NamedTuple):
    """The number of connections that each listener may have."""

    public: int
    internal: int


def raise_limit() -> int:
    """Raise the limit of open files as far as the process may; returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft == resource.RLIM_INFINITY or soft >= ceiling:
        return _WANTED if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
    return ceiling


def connection_limits(files: int, public: int | None, internal: int | None) -> ConnectionLimits:
    """The limit of each listener: its setting as far as there is room, else a part of the room."""
    room = max(2, files - _RESERVE)
    of_internal = min(_INTERNAL_MAX, room // 4) if internal is None else min(internal, room - 1)
    of_public = min(_PUBLIC_MAX if public is None else public, room - max(1, of_internal))
    return ConnectionLimits(of_public, max(1, of_internal))
