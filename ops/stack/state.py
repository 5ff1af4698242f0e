"""The state file of a stack: one JSON file in its data directory, replaced whole at each change."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from ops.stack.child import Identity
from ops.stack.errors import Reason, StackError
from ops.stack.places import as_root, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class ProcessState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One supervised process as `status` shows it."""

    name: str
    state: str
    log: str
    pid: int | None = None
    born: float = 0.0
    restarts: int = 0
    web: str | None = None


class StackState(msgspec.Struct, frozen=True):
    """Everything the next command needs to know about a stack; fields are only ever added."""

    phase: str = "down"
    failure: str | None = None
    supervisor: Identity | None = None
    ports: dict[str, int] = {}
    environment: dict[str, str] = {}
    servers: dict[str, Identity] = {}
    server_restarts: dict[str, int] = {}
    processes: tuple[ProcessState, ...] = ()

    @property
    def running(self) -> bool:
        """True if the supervisor that wrote this is alive."""
        return self.supervisor is not None and self.supervisor.alive()

    def already_running(self, data_dir: Path) -> StackError:
        """Return the error for an attempt to start a second one."""
        pid = self.supervisor.pid if self.supervisor else "?"
        return StackError(
            Reason.ALREADY_RUNNING, f"a stack already runs on {data_dir} (pid {pid}): see ./dev status, stop it with ./dev down"
        )

    def leftovers(self) -> list[Identity]:
        """Every recorded process that still lives: those that write before the servers to which they write."""
        processes = [Identity(process.pid, process.born) for process in self.processes if process.pid]
        return [identity for identity in (*processes, *self.servers.values()) if identity.alive()]


class StateFile:
    """The state of one data directory; safe from several threads."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "state.json"
        self._lock = threading.Lock()

    def read(self) -> StackState:
        """The state as written last; a fresh one if there is none or it cannot be read."""
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self.path.read_bytes(), type=StackState)
        return StackState()

    def change(self, **fields: object) -> StackState:
        """Replace these fields."""
        with self._lock:
            return self._write(msgspec.structs.replace(self.read(), **fields))

    def register_server(self, name: str, identity: Identity | None) -> None:
        """Note the process of a server, or that it has none."""
        with self._lock:
            servers = {known: who for known, who in self.read().servers.items() if known != name}
            if identity:
                servers[name] = identity
            self._write(msgspec.structs.replace(self.read(), servers=servers))

    def _write(self, state: StackState) -> StackState:
        if not self.path.parent.exists():
            private_folder(self.path.parent, passable=as_root())
        partial = self.path.with_suffix(".partial")
        # For its owner alone: the address of a database may carry its password.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(state)))
        partial.replace(self.path)
        return state


@contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Own the data directory; the kernel releases it when the process ends in any way."""
    private_folder(data_dir, passable=as_root())
    folder = os.open(data_dir, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StateFile(data_dir).read().already_running(data_dir) from error
    finally:
        os.close(folder)
