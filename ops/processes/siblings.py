"""
A gateway of several processes (`GATEWAY_PROCESSES`): it is forked into them, and the first one only supervises the others.

It binds the ports and passes on a request to stop. If one process ends without such a request, it stops all of them and ends:
its supervisor (Compose, Kubernetes, systemd) then restarts it, as it restarts a gateway of one process that dies. It serves no
requests itself.
"""

import asyncio
import gc
import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from gateway.listener import bind_shared
from gateway.settings import GatewaySettings
from gateway.siblings import Siblings
from runtime.addresses import LOOPBACK
from runtime.process import Stop, stop_signals

log = structlog.get_logger()

_STOP: Final = b"s"
_HURRY: Final = b"h"
_LOOK: Final = 3600.0  # seconds; a signal and the end of a process are noticed at once


class Place(NamedTuple):
    """One process's place in its gateway: its number, its sockets, and its line to the supervising process."""

    number: int
    public: list[socket.socket]
    internal: list[socket.socket]
    own: list[socket.socket]
    siblings: Siblings
    line: socket.socket

    def follow(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Set `stop` at a request to stop or when the supervising process is gone, and `hurry` at a second request."""
        loop = asyncio.get_running_loop()

        def receive() -> None:
            words = self.line.recv(16)
            if not words:
                loop.remove_reader(self.line)
            if _HURRY in words:
                hurry.set()
            stop.set()

        self.line.setblocking(False)
        loop.add_reader(self.line, receive)


def divide(settings: GatewaySettings, patience: float) -> Place | int:
    """
    Fork this process into those that serve, and keep it to supervise them.

    In each process that serves, this returns its place. In the supervising process it returns the exit code, once all others have
    ended. `patience` is the number of seconds that they may take to end.

    Raises OSError.
    """
    bundles = _bundles(settings)
    ports = {number: bundle.own[0].getsockname()[1] for number, bundle in bundles.items()}
    stop, hurried, signals = Stop(), Stop(), stop_signals()
    for each in signals:
        signal.signal(each, lambda *_: (hurried if stop.requested else stop).request())
    gc.collect()
    gc.freeze()  # the processes share the memory of all that is imported
    children = _Children(stop, hurried)
    for number, bundle in bundles.items():
        if pid := os.fork():
            children.add(number, pid, bundle.ours)
            continue
        for each in signals:  # a signal before the loop runs also arrives by the line
            signal.signal(each, signal.SIG_IGN)
        stop.close()
        hurried.close()
        bundle.ours.close()
        for other in bundles.values():
            if other is not bundle:
                other.close()
        others = {other: port for other, port in ports.items() if other != number}
        return Place(number, bundle.public, bundle.internal, bundle.own, Siblings(number, others), bundle.theirs)
    for bundle in bundles.values():  # a socket open here would accept connections for a process that has died
        bundle.leave()
    return children.look_after(patience)


class _Sockets(NamedTuple):
    """The sockets of one process, and the two ends of its line: the supervisor's (`ours`) and its own (`theirs`)."""

    public: list[socket.socket]
    internal: list[socket.socket]
    own: list[socket.socket]
    ours: socket.socket
    theirs: socket.socket

    def leave(self) -> None:
        """Close everything that only the serving process may hold."""
        for each in (*self.public, *self.internal, *self.own, self.theirs):
            each.close()

    def close(self) -> None:
        self.leave()
        self.ours.close()


def _bundles(settings: GatewaySettings) -> dict[int, _Sockets]:
    """The sockets of each process, by its number."""
    number = settings.gateway_processes
    public = bind_shared(settings.public_host, settings.public_port, number)
    internal = bind_shared(settings.internal_host, settings.internal_port, number)
    own = [sockets for _ in range(number) for sockets in bind_shared(LOOPBACK, 0, 1)]
    return {
        place: _Sockets(*three, *socket.socketpair()) for place, three in enumerate(zip(public, internal, own, strict=True), 1)
    }


class _Process(NamedTuple):
    number: int
    pid: int


class _Children:
    """The serving processes as the supervising process sees them, each by its line, which closes when the process ends."""

    def __init__(self, stop: Stop, hurried: Stop) -> None:
        self._stop = stop
        self._hurried = hurried
        self._alive: dict[socket.socket, _Process] = {}
        self._failed = False

    def add(self, number: int, pid: int, line: socket.socket) -> None:
        self._alive[line] = _Process(number, pid)

    def look_after(self, patience: float) -> int:
        """Wait until a stop is requested or a process ends without a request; stop all of them, and return the exit code."""
        log.info("gateway_divided", pids=[pid for _, pid in self._alive.values()])
        while not self._stop.requested and not self._failed:
            for line in self._stop.wait(_LOOK, *self._alive):
                self._failed = True
                self._note_end(line)
        self._send(_STOP)
        until = time.monotonic() + patience
        hurried = False
        while self._alive and (left := until - time.monotonic()) > 0:
            if self._hurried.requested and not hurried:
                hurried = True
                self._send(_HURRY)
            # After the second request there is nothing more to wait for except the ends of the processes.
            waits = select.select([*self._alive], [], [], left)[0] if hurried else self._hurried.wait(left, *self._alive)
            for line in waits:
                self._note_end(line)
        for line, process in tuple(self._alive.items()):
            os.kill(process.pid, signal.SIGKILL)
            self._note_end(line)
        return int(self._failed)

    def _send(self, word: bytes) -> None:
        for line in self._alive:
            with suppress(OSError):  # it has just ended
                line.send(word)

    def _note_end(self, line: object) -> None:
        """Note the end of a process; it is a failure unless a stop was requested and the exit code is 0."""
        assert isinstance(line, socket.socket)  # noqa: S101  # as they were added
        process = self._alive.pop(line)
        line.close()
        code = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        if code or not self._stop.requested:
            self._failed = True
            log.error("gateway_process_ended", reason="process_ended", number=process.number, pid=process.pid, code=code)
