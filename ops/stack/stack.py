"""The servers of one data directory, started side by side and stopped together."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self, TypeVar

from ops.stack.elasticsearch import Elasticsearch
from ops.stack.errors import Reason, StackError
from ops.stack.kafka import Kafka
from ops.stack.ports import Ports
from ops.stack.postgres import Postgres
from ops.stack.server import Server, Surroundings
from ops.stack.state import StateFile
from ops.stack.valkey import Valkey

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

KINDS: Final[dict[str, type[Server]]] = {kind.name: kind for kind in (Postgres, Kafka, Valkey, Elasticsearch)}
VARIABLES: Final = {
    "postgres": "DATABASE_URL",
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "redis": "REDIS_URL",
    "elasticsearch": "ELASTICSEARCH_URL",
}
_Kind = TypeVar("_Kind", bound=Server)
_LEFTOVER_LIMIT = timedelta(seconds=20)


class Stack:
    """Some of the four servers on one data directory.

    A context manager; or `start()` and `stop()`. Each server can be stopped, killed and started on its own, and keeps
    its port and its data while the directory lives.
    """

    def __init__(
        self,
        data_dir: Path,
        servers: Collection[str] = tuple(KINDS),
        *,
        well_known_ports: bool = False,
        report: Callable[[str, str], None] | None = None,
        kinds: Mapping[str, type[Server]] = KINDS,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.state = StateFile(self.data_dir)
        self.ports = Ports(self.state.read().ports, well_known=well_known_ports)
        self._around = Surroundings(register=self.state.register_server)
        if report:
            self._around.report = report
        self._kinds = kinds
        self._names = [name for name in kinds if name in servers]
        self._servers: dict[str, Server] = {}
        self._cleared = False

    @property
    def cancelled(self) -> threading.Event:
        """Set it, from any thread, to cancel a start under way."""
        return self._around.cancelled

    @property
    def servers(self) -> tuple[Server, ...]:
        return tuple(self._servers.values())

    @property
    def postgres(self) -> Postgres:
        return self._server(Postgres)

    @property
    def kafka(self) -> Kafka:
        return self._server(Kafka)

    @property
    def redis(self) -> Valkey:
        return self._server(Valkey)

    @property
    def elasticsearch(self) -> Elasticsearch:
        return self._server(Elasticsearch)

    def server(self, name: str) -> Server:
        """The server of this name, one of the kinds of this stack."""
        return self._servers[name]

    @property
    def environment(self) -> dict[str, str]:
        """The settings under which our processes find these servers."""
        return {VARIABLES[server.name]: server.url for server in self.servers if server.name in VARIABLES}

    @property
    def migrating(self) -> dict[str, str]:
        """The settings of a command that migrates, in place of those in `environment`."""
        return {}

    def start(self) -> None:
        """Return once all of them serve; if one does not, stop the others and raise its error."""
        self.end_leftovers()
        for name in self._names:
            if name not in self._servers:
                self._servers[name] = self._make(name)
        self.state.change(ports=self.ports.taken)
        with ThreadPoolExecutor(max(1, len(self._servers))) as pool:
            starts = [pool.submit(server.start) for server in self.servers]
            done, under_way = wait(starts, return_when=FIRST_EXCEPTION)
            given_up = bool(under_way) and not self.cancelled.is_set()
            if given_up:
                self.cancelled.set()  # one has failed: do not wait for the rest
        errors = [error for start in (*done, *under_way) if (error := start.exception())]
        if errors:
            self.stop()
            if given_up:
                self.cancelled.clear()
            raise errors[0]

    def end_leftovers(self) -> None:
        """End the servers and processes that a killed predecessor left running; they may be stopping already."""
        if not self._cleared:
            for leftover in self.state.read().leftovers():
                leftover.end(within=_LEFTOVER_LIMIT)
            self.state.change(servers={}, server_restarts={}, processes=())
            self._cleared = True

    def revive(self) -> None:
        """Start again each server that ended by itself."""
        for server in self.servers:
            if server.died:
                self._around.report(server.name, "ended by itself, starting it again")
                server.start()
                restarts = self.state.read().server_restarts
                self.state.change(server_restarts=restarts | {server.name: restarts.get(server.name, 0) + 1})

    def stop(self) -> None:
        """Stop all of them, side by side; data and ports are kept."""
        with ThreadPoolExecutor(max(1, len(self._servers))) as pool:
            for stopping in [pool.submit(server.stop) for server in self.servers]:
                stopping.result()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make(self, name: str) -> Server:
        return self._kinds[name](self.data_dir / name, self.ports, self._around)

    def _server(self, kind: type[_Kind]) -> _Kind:
        server = self._servers.get(kind.name)
        if not isinstance(server, kind):
            raise StackError(Reason.STACK_FAILED, f"this stack has no {kind.name}, or is not started")
        return server
