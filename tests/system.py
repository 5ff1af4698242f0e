"""The whole of Tallyhook on a test's own servers: real processes under the supervisor of `./dev up`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg

from migrations import chain
from ops.dev.processes import SINK, TALLYHOOK, WORKERS, processes, take_listeners
from ops.stack.supervisor import HUNG_AFTER, ProcessSpec, Supervisor
from outbox import topics
from outbox.settings import RetentionSettings
from outbox.upkeep import keep_partitions
from runtime.addresses import LOOPBACK, address
from runtime.kafka import Cluster
from runtime.secret_files import Environ
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import timedelta

    from ops.stack import Stack
    from ops.stack.state import ProcessState

STRIPE_SECRET: Final = "whsec_test_newest"
OLD_STRIPE_SECRET: Final = "whsec_test_old"
RAZORPAY_SECRET: Final = "test-razorpay"
OLD_RAZORPAY_SECRET: Final = "test-razorpay-old"
ADMIN: Final = {"X-Internal-Token": "test-admin-token"}
SERVICE: Final = {"X-Internal-Token": "test-service-token"}
_SECRETS: Final = {
    "STRIPE_WEBHOOK_SECRET": f"{STRIPE_SECRET},{OLD_STRIPE_SECRET}",
    "RAZORPAY_WEBHOOK_SECRET": f"{RAZORPAY_SECRET},{OLD_RAZORPAY_SECRET}",
    "INTERNAL_API_TOKEN": "test-service-token",
    "ADMIN_API_TOKEN": "test-admin-token",
}
_LIMITS: Final = {"RATE_LIMIT_WEBHOOKS": "off", "RATE_LIMIT_PARTNERS": "off"}  # all load of a test comes from one address
_PROMPT: Final = {"SHUTDOWN_DELAY": "0s"}
_LIMIT: Final = """
import os, resource, sys
from runtime.kafka import Cluster
from runtime.secret_files import Environ
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
_LIMITED: Final = (sys.executable, "-c", _LIMIT)
"""A prefix of a command that limits its writable memory, in bytes."""
PROCESS_LOGS: Final = "process-logs"
"""The folder of their logs, below the data of the stack."""
_CHECKOUT: Final = Path(__file__).parents[1]


class Doors(NamedTuple):
    """Where a gateway listens."""

    public: str
    internal: str


class System:
    """A gateway, a relay and the workers; a process that is killed is restarted by the supervisor."""

    def __init__(
        self,
        stack: Stack,
        *,
        workers: Collection[str] = WORKERS,
        together: bool = False,
        doubled: bool | Collection[str] = False,
        hung_after: timedelta = HUNG_AFTER,
        data_limit: int | None = None,
        program: str = TALLYHOOK,
        kafka: str | None = None,
        **settings: str,
    ) -> None:
        self.stack = stack
        self._hung_after = hung_after
        self._program = program
        self.database_url = stack.postgres.url
        self.kafka = kafka or stack.kafka.url
        self.environment = {**os.environ, **stack.environment, **_SECRETS, **_LIMITS, **_PROMPT, **settings}
        roles = tuple(role for role in WORKERS if role in workers)
        self._listeners = take_listeners(
            stack.ports, Environ(settings), (roles,) if together else tuple((role,) for role in roles)
        )
        self._sends = "notifications" in workers
        without = () if self._sends else (SINK,)
        self._specs = tuple(spec for spec in processes(self._listeners) if spec.name not in without)
        if doubled:
            twice = {spec.name for spec in self._specs if spec.name != SINK} if doubled is True else {*doubled}
            self._specs += tuple(self._second(spec) for spec in self._specs if spec.name in twice)
        self._specs = tuple(
            replace(spec, command=tuple(program if word == TALLYHOOK else word for word in spec.command)) for spec in self._specs
        )
        if data_limit is not None:
            self._specs = tuple(replace(spec, command=(*_LIMITED, str(data_limit), *spec.command)) for spec in self._specs)
        self.public = address(self._listeners.public)
        self.internal = address(self._listeners.internal)
        self.mail = address((LOOPBACK, self._listeners.sink.web))
        self.states: tuple[ProcessState, ...] = ()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="supervisor")
        self._connection: psycopg.Connection | None = None

    @property
    def settings(self) -> dict[str, str]:
        """What every process of it is given; the sink's addresses where it runs."""
        given = {**self.environment, **self._listeners.environment}
        sink = self._listeners.sink
        return given if self._sends else {name: text for name, text in given.items() if name not in sink.variables}

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.kafka, prefix=self.environment.get("KAFKA_TOPIC_PREFIX", ""))

    def prepare(self) -> None:
        """Migrate, make the partitions and the topics."""
        chain.upgrade(self.stack.migrating.get("DATABASE_URL", self.database_url))
        keep_partitions(RetentionSettings.load({"DATABASE_URL": self.database_url, "RETENTION_DAYS": "2"}))
        topics.ensure(self.cluster, int(self.environment.get("KAFKA_REPLICATION_FACTOR", "1")))

    def add_settings(self, name: str, environment: Mapping[str, str]) -> None:
        """Add settings for one process only, before the start."""
        mine = (replace(spec, environment={**spec.environment, **environment}) for spec in self._specs if spec.name == name)
        self._specs = (*(spec for spec in self._specs if spec.name != name), *mine)

    def run(self, *words: str) -> None:
        """Run a command of the program under the settings of the processes."""
        done = subprocess.run(
            [self._program, *words], env=self.settings, cwd=self.stack.data_dir, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a process; its pid."""
        pid = self.process(name).pid
        assert pid is not None
        os.kill(pid, number)
        return pid

    def begin(self) -> None:
        """Start the processes, without waiting until they are ready."""
        self._thread.start()

    def start(self) -> None:
        self.begin()
        try:
            wait_until(lambda: self.states and all(state.state == "ready" for state in self.states))
        except AssertionError as error:
            late = [state for state in self.states if state.state != "ready"]
            reports = [
                f"{state.name} is {state.state}, {state.restarts} restarts:\n{self._worst_of(state.name)}" for state in late
            ]
            raise AssertionError("\n".join([str(error), *reports])) from None

    def wait_ready(self, *names: str) -> None:
        """Wait until these processes are ready; a process may be ready long before the others."""
        wait_until(lambda: self.states and all(self.process(name).state == "ready" for name in names))

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(180)  # the next system has the same ports
        self._hang_up()

    def kill(self, name: str) -> int:
        """SIGKILL a process, at once; the supervisor starts it again. Returns the pid that died."""
        return self.signal(name, signal.SIGKILL)

    def wait_back(self, name: str, killed: int) -> None:
        """Wait until a killed process serves again under a new pid."""
        wait_until(lambda: self.process(name).pid not in (None, killed) and self.process(name).state == "ready")

    def process(self, name: str) -> ProcessState:
        return next(state for state in self.states if state.name == name)

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """
        Run a statement over a kept connection: a new one takes 19 ms of a processor, a statement 0.5, and tests ask often.

        Postgres may have been restarted, or the database made anew, since the last statement: then it runs over a new connection.
        """
        try:
            return self._rows(statement, parameters)
        except psycopg.OperationalError:
            if self._connection and not self._connection.closed:
                raise
            return self._rows(statement, parameters)
        finally:
            if self._ended.is_set():  # no other code would close this connection any more
                self._hang_up()

    def count(self, statement: str, *parameters: Any) -> int:
        return int(self.query(f"select count(*) from {statement}", *parameters)[0][0])

    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            # A concurrent migration may change the columns of a prepared statement.
            self._connection = psycopg.connect(self.database_url, autocommit=True, prepare_threshold=None)
        return self._connection.execute(statement, parameters).fetchall()

    def _hang_up(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def log_of(self, name: str) -> str:
        return Path(self.process(name).log).read_text()

    def _worst_of(self, name: str) -> str:
        """Return the end of its log without the harmless lines; tracebacks are kept."""
        return "\n".join(line for line in self.log_of(name).splitlines() if '"level":"info"' not in line)[-4000:]

    def _second(self, spec: ProcessSpec) -> ProcessSpec:
        """Another process of the same kind, on its own ports."""
        if spec.name == "gateway":
            public, internal = (self.stack.ports.take(f"gateway-2-{listener}", 0) for listener in ("public", "internal"))
            web = address((LOOPBACK, public))
            self.second = Doors(web, address((LOOPBACK, internal)))
            environment = {"PUBLIC_PORT": str(public), "INTERNAL_PORT": str(internal)}
            return _moved(spec, f"{spec.name}-2", environment, web)
        port = self.stack.ports.take(f"{spec.name}-2", 0)
        variable = "RELAY_WEB_PORT" if spec.name == "relay" else "STREAMS_WEB_PORT"
        web = address((LOOPBACK, port))
        return _moved(spec, f"{spec.name}-2", {variable: str(port)}, web)

    def _look_after(self) -> None:
        logs = self.stack.data_dir / PROCESS_LOGS
        logs.mkdir(exist_ok=True)
        supervisor = Supervisor(
            self._specs, log_dir=logs, cwd=_CHECKOUT, environment=self.settings, on_change=self._note, hung_after=self._hung_after
        )
        try:
            while not self._ended.wait(0.05):
                supervisor.run_once()
        finally:  # this raises if a process keeps exiting, and the others must release the ports
            supervisor.stop()

    def _note(self, states: tuple[ProcessState, ...]) -> None:
        self.states = states


def _moved(spec: ProcessSpec, name: str, environment: dict[str, str], web: str) -> ProcessSpec:
    urls = {"web": web, "ready_url": f"{web}/health/ready", "live_url": f"{web}/health/live"}
    return replace(spec, name=name, environment=environment, **urls)


@contextmanager
def running_system(
    stack: Stack,
    *,
    workers: Collection[str] = WORKERS,
    together: bool = False,
    doubled: bool | Collection[str] = False,
    hung_after: timedelta = HUNG_AFTER,
    **settings: str,
) -> Iterator[System]:
    """
    A prepared and started system of these workers, by default all.

    The workers are one process if they are `together`; `doubled` has two processes of each kind, or of those that it names.
    """
    system = System(stack, workers=workers, together=together, doubled=doubled, hung_after=hung_after, **settings)
    system.prepare()
    try:
        system.start()
        yield system
    finally:
        system.stop()
