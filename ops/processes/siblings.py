"""
A gateway of several processes (`GATEWAY_PROCESSES`): it is forked into them, and the first one only looks after the others.

It binds the ports, passes a request to stop on, and ends with all of them once one has ended unasked: whatever started it
(Compose, Kubernetes, systemd) starts it anew, as it does with a gateway of one process that dies. It serves nothing itself.
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
    """One process's place in its gateway: its number, its sockets, and its line to the process that looks after it."""

    number: int
    public: list[socket.socket]
    internal: list[socket.socket]
    own: list[socket.socket]
    siblings: Siblings
    line: socket.socket

    def follow(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Set `stop` when asked to stop, or when the process that looks after this one is gone; `hurry` at the second time."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            words = self.line.recv(16)
            if not words:
                loop.remove_reader(self.line)
            if _HURRY in words:
                hurry.set()
            stop.set()

        self.line.setblocking(False)
        loop.add_reader(self.line, hear)


def divide(settings: GatewaySettings, patience: float) -> Place | int:
    """
    Divide this process into those that serve, and the one that looks after them.

    Returns its place in each that serves; in the other one the exit code, once all of them have ended. `patience` are the seconds
    that they may take to end.

    Raises OSError.
    """
    doors = _doors(settings)
    ports = {number: door.own[0].getsockname()[1] for number, door in doors.items()}
    asked, hurried, signals = Stop(), Stop(), stop_signals()
    for each in signals:
        signal.signal(each, lambda *_: (hurried if asked.asked else asked).ask())
    gc.collect()
    gc.freeze()  # the processes share the memory of all that is imported
    family = _Family(asked, hurried)
    for number, door in doors.items():
        if pid := os.fork():
            family.add(number, pid, door.ours)
            continue
        for each in signals:  # one that comes before the loop runs reaches it by the line as well
            signal.signal(each, signal.SIG_IGN)
        asked.close()
        hurried.close()
        door.ours.close()
        for other in doors.values():
            if other is not door:
                other.close()
        others = {other: port for other, port in ports.items() if other != number}
        return Place(number, door.public, door.internal, door.own, Siblings(number, others), door.theirs)
    for door in doors.values():  # what stayed open here would go on taking the connections of a process that has died
        door.leave()
    return family.look_after(patience)


class _Door(NamedTuple):
    """The sockets of one process, and both ends of its line: ours, and theirs."""

    public: list[socket.socket]
    internal: list[socket.socket]
    own: list[socket.socket]
    ours: socket.socket
    theirs: socket.socket

    def leave(self) -> None:
        """Close what only the process that serves may hold."""
        for each in (*self.public, *self.internal, *self.own, self.theirs):
            each.close()

    def close(self) -> None:
        self.leave()
        self.ours.close()


def _doors(settings: GatewaySettings) -> dict[int, _Door]:
    """The sockets of each process, by its number."""
    number = settings.gateway_processes
    public = bind_shared(settings.public_host, settings.public_port, number)
    internal = bind_shared(settings.internal_host, settings.internal_port, number)
    own = [sockets for _ in range(number) for sockets in bind_shared(LOOPBACK, 0, 1)]
    return {place: _Door(*three, *socket.socketpair()) for place, three in enumerate(zip(public, internal, own, strict=True), 1)}


class _Process(NamedTuple):
    number: int
    pid: int


class _Family:
    """The processes that serve, as the one sees them that looks after them, each by its line, which ends with the process."""

    def __init__(self, asked: Stop, hurried: Stop) -> None:
        self._asked = asked
        self._hurried = hurried
        self._alive: dict[socket.socket, _Process] = {}
        self._failed = False

    def add(self, number: int, pid: int, line: socket.socket) -> None:
        self._alive[line] = _Process(number, pid)

    def look_after(self, patience: float) -> int:
        """Wait for a request to stop, or until one has ended unasked; have all of them end, and return the exit code."""
        log.info("gateway_divided", pids=[pid for _, pid in self._alive.values()])
        while not self._asked.asked and not self._failed:
            for line in self._asked.wait(_LOOK, *self._alive):
                self._failed = True
                self._bury(line)
        self._tell(_STOP)
        until = time.monotonic() + patience
        hurried = False
        while self._alive and (left := until - time.monotonic()) > 0:
            if self._hurried.asked and not hurried:
                hurried = True
                self._tell(_HURRY)
            # One that is asked already waits for nothing more.
            waits = select.select([*self._alive], [], [], left)[0] if hurried else self._hurried.wait(left, *self._alive)
            for line in waits:
                self._bury(line)
        for line, process in tuple(self._alive.items()):
            os.kill(process.pid, signal.SIGKILL)
            self._bury(line)
        return int(self._failed)

    def _tell(self, word: bytes) -> None:
        for line in self._alive:
            with suppress(OSError):  # it has just ended
                line.send(word)

    def _bury(self, line: object) -> None:
        """Take note of the end of a process, which is a failure unless it was asked to stop and did so in order."""
        assert isinstance(line, socket.socket)  # noqa: S101  # as they were added
        process = self._alive.pop(line)
        line.close()
        code = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        if code or not self._asked.asked:
            self._failed = True
            log.error("gateway_process_ended", reason="process_ended", number=process.number, pid=process.pid, code=code)
