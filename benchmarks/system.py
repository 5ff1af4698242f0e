"""The measured system: real servers on a temporary data directory, and our processes as in production."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from operations.ledger.loop import sweep
from ops.dev.processes import SPLIT, TALLYHOOK, processes, take_listeners
from ops.dev.secrets_file import NEEDED
from ops.stack import Stack
from ops.stack.child import Child, spawn, tail
from ops.stack.errors import Reason, StackError
from ops.stack.places import temporary_data_dir
from ops.stack.probe import answers
from outbox.settings import RelaySettings
from runtime.addresses import LOOPBACK, address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ops.stack.supervisor import ProcessSpec

    Report = Callable[[str, str], None]
    Roles = Sequence[tuple[str, ...]]

TWO_PROCESSES: Final = "gateway of two processes"
BARE_HANDLER: Final = "bare aiohttp handler"
"""The handler of `bare_handler.py`, in place of a gateway."""
_PROGRAM: ContextVar[str] = ContextVar("program", default=TALLYHOOK)
_CHECKOUT: Final = Path(__file__).parents[1]
_READY_LIMIT: Final = 60.0  # seconds
_STOP_LIMIT: Final = timedelta(seconds=20)
# Calls are counted as usual, but the client of the benchmark never exceeds the limit.
_LIMITS: Final = {"RATE_LIMIT_WEBHOOKS": "1000000/second", "RATE_LIMIT_PARTNERS": "1000000/second"}
_EFFECTS: Final = (
    *("outbox_pending", "outbox", "dedup", "webhook_deliveries", "consumed", "dead_letters", "notifications"),
    *("ledger_sweeps", "ledger_findings", "leads", "lead_attempts"),
)
_PROJECTIONS: Final = ("payments", "refunds", "disputes", "history", "reconciliations", "invoices", "subscriptions")


@dataclass(frozen=True)
class Running:
    """One of our processes while it runs."""

    name: str
    child: Child = field(repr=False)
    web: str | None = None

    @property
    def pid(self) -> int:
        return self.child.pid

    def check(self) -> None:
        """Raise StackError if it has ended."""
        if self.child.exit_code is not None:
            raise StackError(
                Reason.PROCESS_FAILED,
                f"{self.name} ended with code {self.child.exit_code}; its log ends:\n{tail(self.child.log)}",
            )


class System:
    """A migrated database, the topics, and the start of our processes."""

    def __init__(self, stack: Stack, settings: dict[str, str], workers: Roles = SPLIT, program: str = TALLYHOOK) -> None:
        """`workers` are the roles of each worker process; `program` is the `tallyhook` to measure, maybe of another release."""
        self.stack = stack
        self._program = program
        listeners = take_listeners(stack.ports, {}, workers)
        made = {name: make() for name, make in NEEDED.items()}
        self.settings = made | _LIMITS | stack.environment | listeners.environment | settings
        self.public = listeners.public
        self._specs = {spec.name: spec for spec in processes(listeners)}
        gateway = self._specs["gateway"]
        public = address(listeners.public)
        bare = (sys.executable, "-m", "benchmarks.bare_handler", stack.postgres.url, str(listeners.public[1]))
        self._specs[TWO_PROCESSES] = replace(gateway, environment={"GATEWAY_PROCESSES": "2"})
        self._specs[BARE_HANDLER] = replace(gateway, command=bare, environment={"PYTHONPATH": str(_CHECKOUT)}, web=public)
        twins = [name for name in ("relay", "worker-payments") if name in self._specs]
        self._specs |= {f"{name}-2": self._second(self._specs[name]) for name in twins}

    @property
    def database_url(self) -> str:
        return self.stack.postgres.url

    @property
    def bootstrap(self) -> str:
        return self.stack.kafka.url

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.database_url, autocommit=True, application_name="benchmark")

    def count(self, table: str) -> int:
        with self.connect() as connection:
            row = connection.execute(f"select count(*) from {table}").fetchone()
        return int(row[0]) if row else 0

    def empty(self) -> None:
        """Delete all rows and make a checkpoint, so that every round starts with the same database."""
        with self.connect() as connection:
            # A former release does not have all of them.
            query = "select t from unnest(%s::text[]) t where to_regclass(t) is not null"
            known = connection.execute(query, ([*_EFFECTS, *_PROJECTIONS],)).fetchall()
            connection.execute(f"truncate {', '.join(table for (table,) in known)}")
            connection.execute("checkpoint")

    def sweep(self) -> None:
        """Sweep the ledger as relays do every minute; otherwise a relay's first sweep would do all of it while we measure."""
        asyncio.run(_sweep(self.database_url))

    def set_up(self) -> None:
        for words in (("migrate",), ("topics", "ensure")):
            self._run(*words)

    @contextmanager
    def running(self, *names: str) -> Iterator[list[Running]]:
        """Start processes by the names that `./dev status` shows; they are ready in the block, and are stopped after it."""
        started: list[Running] = []
        try:
            for name in names:
                spec = self._specs[name]
                started.append(Running(name, self._spawn(spec), spec.web))
            for process in started:
                self._await_ready(process, self._specs[process.name])
            yield started
            for process in started:
                process.check()
        finally:
            for process in reversed(started):
                process.child.stop(_STOP_LIMIT)

    def _second(self, spec: ProcessSpec) -> ProcessSpec:
        """Return another process of the same kind, with its own web port."""
        port = self.stack.ports.take(f"{spec.name}-2", 0)
        variable = "RELAY_WEB_PORT" if spec.name == "relay" else "STREAMS_WEB_PORT"
        web = address((LOOPBACK, port))
        return replace(spec, name=f"{spec.name}-2", environment={variable: str(port)}, web=web, ready_url=f"{web}/health/ready")

    def _spawn(self, spec: ProcessSpec) -> Child:
        log = self.stack.data_dir / "log" / f"{spec.name}.log"
        # Not in the checkout, whose `.env` must not be read.
        environment = {**os.environ, **self.settings, **spec.environment}
        return spawn(self._command(spec), log=log, environment=environment, cwd=self.stack.data_dir)

    def _command(self, spec: ProcessSpec) -> tuple[str, ...]:
        return tuple(self._program if word == TALLYHOOK else word for word in spec.command)

    def _await_ready(self, process: Running, spec: ProcessSpec) -> None:
        deadline = time.monotonic() + _READY_LIMIT
        while not answers(spec.ready_url):
            process.check()
            if time.monotonic() > deadline:
                raise StackError(
                    Reason.PROCESS_FAILED, f"{process.name} was not ready within {_READY_LIMIT:.0f} s; see {process.child.log}"
                )
            time.sleep(0.02)

    def _run(self, *words: str) -> None:
        environment = {**os.environ, **self.settings}
        command = [self._program, *words]
        done = subprocess.run(command, env=environment, cwd=self.stack.data_dir, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(Reason.PROCESS_FAILED, f"`{' '.join(words)}` failed: {(done.stderr or done.stdout).strip()}")


async def _sweep(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await sweep(connection, RelaySettings.model_fields["ledger_grace"].default, datetime.now(UTC))


def measured() -> str:
    """Return the `tallyhook` that is measured: that of this checkout, or that of `measuring`."""
    return _PROGRAM.get()


@contextmanager
def measuring(program: str) -> Iterator[None]:
    """Within the block, systems run this `tallyhook`, for example of another release."""
    token = _PROGRAM.set(program)
    try:
        yield
    finally:
        _PROGRAM.reset(token)


@contextmanager
def system(
    *servers: str, report: Report, workers: Roles = SPLIT, program: str | None = None, **settings: str
) -> Iterator[System]:
    """
    Run a system on the named servers, which stop with the block; its data are deleted.

    `settings` override those of our processes; `workers` and `program` are as in System; by default `measuring` sets `program`.
    """
    folder = temporary_data_dir()
    try:
        with Stack(folder, servers, report=report) as stack:
            made = System(stack, settings, workers, program or measured())
            report("system", "migrating, creating topics")
            made.set_up()
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
