"""The port of each listener: the one it had before, else its well-known one, else a free one."""

from __future__ import annotations

import errno
import random
import socket
import sys
import weakref
from typing import TYPE_CHECKING, Final

from ops.stack.errors import PortTaken, Reason, StackError
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Below the range from which kernels take ports for outgoing connections: a client that keeps dialling a stopped server
# there can be given the server's own port, connect to itself and hold it.
_FREE_RANGE = range(20_000, 32_000)
_TRIES = 200
_LAST = 65_535
_OBSTACLES = {
    errno.EADDRINUSE: "that port is taken by another program",
    errno.EACCES: "only root may listen on a port that low",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


# A bound socket that does not listen keeps Linux from giving its port to any program except a server that requests this port
# with SO_REUSEADDR, as servers do. Elsewhere it would keep our own server from its port too.
_CAN_HOLD: Final = sys.platform == "linux"


class Ports:
    """
    Assigns each port once, and remembers the listener of each.

    A free one that it found is held while this object lives: no other stack takes it before its server listens, or while that
    server is stopped.
    """

    def __init__(self, remembered: Mapping[str, int] | None = None, *, well_known: bool = False) -> None:
        self._remembered = dict(remembered or {})
        self._well_known = well_known
        self.taken: dict[str, int] = {}
        self._held: list[socket.socket] = []
        weakref.finalize(self, _close_all, self._held)

    def take(self, listener: str, well_known: int) -> int:
        """The port for this listener; the same one at every call."""
        if listener not in self.taken:
            wanted = [self._remembered.get(listener), well_known if self._well_known else None]
            self.taken[listener] = next((port for port in wanted if port and self._available(port)), 0) or self._free()
        return self.taken[listener]

    def take_exactly(self, listener: str, port: int, host: str = LOOPBACK) -> int:
        """Take this port, or any free one for 0. Raises PortTaken."""
        if port == 0:
            return self.take(listener, 0)
        if obstacle := _obstacle(port, host):
            raise PortTaken(f"{listener} is to listen on {host}:{port}, but {obstacle}")
        self.taken[listener] = port
        return port

    def _available(self, port: int) -> bool:
        return port <= _LAST and port not in self.taken.values() and is_free(port)

    def _free(self) -> int:
        for port in random.sample(_FREE_RANGE, _TRIES):
            if port not in self.taken.values() and self._hold(port):
                return port
        raise StackError(
            Reason.STACK_FAILED, f"found no free port in {_TRIES} tries between {_FREE_RANGE.start} and {_FREE_RANGE.stop}"
        )

    def _hold(self, port: int) -> bool:
        """Keep a free port; return False if it is in use, or held by another stack."""
        holder = socket.socket()
        try:
            holder.bind((LOOPBACK, port))  # without SO_REUSEADDR: it fails if any program has bound the port
        except OSError:
            holder.close()
            return False
        if _CAN_HOLD:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._held.append(holder)
        else:
            holder.close()
        return True


def _close_all(held: Iterable[socket.socket]) -> None:
    for holder in held:
        holder.close()


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """True if a server could listen there now."""
    return _obstacle(port, host) is None


def _obstacle(port: int, host: str) -> str | None:
    """Return the error that keeps a server from listening there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a predecessor that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            return "that name cannot be resolved"
        except OSError as error:
            return _OBSTACLES.get(error.errno or 0, error.strerror)
        return None
