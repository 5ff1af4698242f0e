"""The base of every server of the stack, with the order of its start and stop."""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from ops.stack.child import Child, Identity, spawn, tail
from ops.stack.errors import Cancelled, Reason, StackError
from ops.stack.places import private_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ops.stack.child import Account
    from ops.stack.ports import Ports


def _silent(_name: str, _message: str) -> None:
    pass


def _forget(_name: str, _identity: Identity | None) -> None:
    pass


@dataclass
class Surroundings:
    """The tools of a server: callbacks for progress and for its process, and an event that cancels its start."""

    report: Callable[[str, str], None] = _silent
    register: Callable[[str, Identity | None], None] = _forget
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise Cancelled if the start was cancelled."""
        if self.cancelled.is_set():
            raise Cancelled("the start was cancelled")


class Server(ABC):
    """One real server with its data in one folder and the same port for life."""

    name: ClassVar[str]
    start_limit: ClassVar[timedelta] = timedelta(seconds=60)
    stop_limit: ClassVar[timedelta] = timedelta(seconds=20)
    stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self, folder: Path, ports: Ports, around: Surroundings | None = None) -> None:
        self.folder = folder
        self.around = around or Surroundings()
        self.child: Child | None = None
        self._wanted = False
        self._ports = ports  # which holds them
        self.take_ports(ports)

    @abstractmethod
    def take_ports(self, ports: Ports) -> None:
        """Take the ports that this server listens on."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Return the address by which a client reaches this server."""

    @abstractmethod
    def prepare(self) -> None:
        """Put everything in place that must exist before the first start; a repeat costs nothing."""

    @abstractmethod
    def command(self) -> list[str | Path]:
        """The program and its arguments."""

    @abstractmethod
    def ready(self) -> bool:
        """True if it serves a client now."""

    def account(self) -> Account | None:
        """The account to run under; None for our own."""
        return None

    @property
    def log(self) -> Path:
        return self.folder.parent / "log" / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child else None

    @property
    def died(self) -> bool:
        """True if it was started and no longer runs, although it was not stopped; a failed start counts."""
        return self._wanted and (self.child is None or self.child.exit_code is not None)

    def start(self) -> None:
        """Return once it serves; raise, with the end of its log, if it does not. Nothing to do if it runs."""
        if self.child and not self.died:
            return
        self._wanted = True
        private_folder(self.folder, passable=self.account() is not None)
        self.prepare()
        self.around.check()
        self.around.report(self.name, "starting")
        self.child = spawn(self.command(), log=self.log, account=self.account(), stop_signal=self.stop_signal)
        self.around.register(self.name, self.child.identity)
        self._await_ready(self.child)
        self.around.report(self.name, "ready")

    def stop(self) -> None:
        """End it in good order; by force once the limit has passed."""
        self._wanted = False
        self._end(lambda child: child.stop(self.stop_limit))

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._wanted = False
        self._end(Child.kill)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _await_ready(self, child: Child) -> None:
        deadline = time.monotonic() + self.start_limit.total_seconds()
        while True:
            serves = self.ready()
            # Checked after the probe: if another program holds the port, that program has answered.
            if child.exit_code is not None:
                self.child = None
                raise StackError(Reason.SERVER_FAILED, f"{self.name} ended with code {child.exit_code}; {self._end_of_log()}")
            if serves:
                return
            if time.monotonic() > deadline:
                self._end(Child.kill)
                raise StackError(
                    Reason.SERVER_FAILED, f"{self.name} was not ready within {self.start_limit}; {self._end_of_log()}"
                )
            self.around.cancelled.wait(0.05)
            self.around.check()

    def _end(self, how: Callable[[Child], None]) -> None:
        if self.child:
            how(self.child)
            self.child = None
            self.around.register(self.name, None)

    def _end_of_log(self) -> str:
        return f"the end of {self.log}:\n{tail(self.log)}"
