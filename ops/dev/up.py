"""
`up` starts the servers that are missing, the schema, the topics, then our processes, and runs until a signal stops it.

Before that it checks the settings of every process and reports all problems at once. While it runs it bounds the logs, which no
other program rotates.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ops.demo.partner import partner_environment
from ops.dev import processes
from ops.dev.secrets_file import NEEDED, ensure_secrets
from ops.settings.review import review
from ops.stack.child import Identity, tail
from ops.stack.errors import Cancelled, Reason, StackError
from ops.stack.places import private_folder
from ops.stack.stack import KINDS, VARIABLES, Stack
from ops.stack.state import ProcessState, StateFile, hold
from ops.stack.supervisor import ProcessSpec, Supervisor
from runtime.settings import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ops.dev.progress import Progress
    from ops.stack.ports import Ports

_OWN_SERVERS: Final = {
    "postgres": "postgresql://postgres@127.0.0.1:5432/tallyhook",
    "kafka": "127.0.0.1:9092",
    "redis": "redis://127.0.0.1:6379/0",
    "elasticsearch": "http://127.0.0.1:9200",
}
"""The addresses that `up` provides if no server is set."""


def check_settings(checkout: Path, print_line: Callable[[str], None]) -> None:
    """
    Report every doubtful setting of a checkout; errors raise SettingsError.

    Raises SettingsError with everything that would keep one of the processes from starting.
    """
    provided = {VARIABLES[name]: address for name, address in _OWN_SERVERS.items()}
    provided |= {name: make() for name, make in NEEDED.items()}
    found = review(checkout, provided=provided, one_machine=True)
    for warning in found.warnings:
        print_line(f"warning: {warning}")
    found.check()


SETUP: Final = (
    ("schema", (processes.TALLYHOOK, "migrate")),
    ("topics", (processes.TALLYHOOK, "topics", "ensure")),
)
_READY_LIMIT = timedelta(seconds=120)
_TICK = 0.1  # seconds between two looks at the processes
_REVIVAL_PAUSE = 5.0  # seconds
_BOUND_EVERY = 10.0


def our_processes(ports: Ports, settings: dict[str, str], *, split: bool = False) -> tuple[dict[str, str], Sequence[ProcessSpec]]:
    """Our processes and the settings of their listeners; with `split` each role has a worker, in place of one for all."""
    listeners = processes.take_listeners(ports, settings, processes.SPLIT if split else processes.TOGETHER)
    sink = listeners.sink
    demo = partner_environment(settings, sink.web) if sink.variables else {}
    delay = {} if settings.get("SHUTDOWN_DELAY") else {"SHUTDOWN_DELAY": "0s"}  # there is no load balancer
    return listeners.environment | demo | delay, processes.processes(listeners)


@dataclass(frozen=True)
class Plan:
    """A checkout and the data directory of its stack."""

    checkout: Path
    data_dir: Path
    stack: type[Stack] = Stack
    setup: Sequence[tuple[str, tuple[str, ...]]] = SETUP
    processes: Callable[[Ports, dict[str, str]], tuple[dict[str, str], Sequence[ProcessSpec]]] = field(default=our_processes)


def up(plan: Plan, progress: Progress, on_ready: Callable[[], None]) -> None:
    """Bring everything up, keep it up until SIGINT, SIGTERM or SIGHUP, and stop it in order after any error too."""
    with hold(plan.data_dir):
        state = StateFile(plan.data_dir)
        state.change(phase="starting", failure=None, supervisor=Identity.of(os.getpid()))
        try:
            _run(plan, state, progress, on_ready)
        except Cancelled:
            progress.print_line("cancelled")
        except StackError as error:
            state.change(phase="failed", failure=str(error))
            raise
        state.change(phase="down")


def _run(plan: Plan, state: StateFile, progress: Progress, on_ready: Callable[[], None]) -> None:
    if written := ensure_secrets(plan.checkout):
        progress.print_line(f"wrote fresh random values for {', '.join(written)} to .env (readable by you alone)")
    settings = environment(plan.checkout)
    missing = [name for name in KINDS if not settings.get(VARIABLES[name])]
    stack = plan.stack(plan.data_dir, missing, well_known_ports=True, report=progress.report)
    with _stop_on_signals(stack), ExitStack() as at_end:
        stack.end_leftovers()
        listeners, specs = plan.processes(stack.ports, settings)
        at_end.callback(stack.stop)
        stack.start()
        whole = {**settings.given, **stack.environment, **listeners}  # each process reads settings in files itself
        known = settings | whole
        public = {name: known[name] for name in (*VARIABLES.values(), *stack.environment, *listeners)}
        state.change(ports=stack.ports.taken, environment=public)
        _set_up(plan, whole, stack.migrating, progress)
        supervisor = _supervisor(plan, specs, whole, state)
        at_end.callback(supervisor.stop)
        at_end.callback(progress.print_line, "stopping")
        _await_ready(supervisor, stack, progress)
        state.change(phase="ready")
        on_ready()
        _keep_up(supervisor, stack, progress)


def _supervisor(plan: Plan, specs: Sequence[ProcessSpec], settings: dict[str, str], state: StateFile) -> Supervisor:
    def note(states: tuple[ProcessState, ...]) -> None:
        state.change(processes=states)

    log_dir = plan.data_dir / "log"
    return Supervisor(specs, log_dir=log_dir, cwd=plan.checkout, environment=settings, on_change=note)


def _set_up(plan: Plan, settings: dict[str, str], migrating: dict[str, str], progress: Progress) -> None:
    for name, command in plan.setup:
        progress.report(name, "ensuring")
        log = private_folder(plan.data_dir / "log") / f"{name}.log"
        with log.open("wb") as output:
            known = settings | (migrating if name == "schema" else {})
            done = subprocess.run(command, env=known, cwd=plan.checkout, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise StackError(Reason.PROCESS_FAILED, f"`{' '.join(command)}` failed; the end of {log}:\n{tail(log)}")
        progress.report(name, "ready")


def _await_ready(supervisor: Supervisor, stack: Stack, progress: Progress) -> None:
    deadline = time.monotonic() + _READY_LIMIT.total_seconds()
    shown: dict[str, str] = {}
    while not supervisor.all_ready:
        supervisor.run_once()
        supervisor.check_start()
        for process in supervisor.states:
            if shown.get(process.name) != process.state:
                progress.report(process.name, process.state)
                shown[process.name] = process.state
        if time.monotonic() > deadline:
            late = ", ".join(process.name for process in supervisor.states if process.state != "ready")
            raise StackError(
                Reason.PROCESS_FAILED, f"not ready within {_READY_LIMIT}: {late}; see their logs below {stack.data_dir / 'log'}"
            )
        if stack.cancelled.wait(_TICK):
            raise Cancelled("the start was cancelled")


def _keep_up(supervisor: Supervisor, stack: Stack, progress: Progress) -> None:
    revive_at = bound_at = 0.0
    while not stack.cancelled.wait(_TICK):
        supervisor.run_once()
        if time.monotonic() >= bound_at:
            bound_at = time.monotonic() + _BOUND_EVERY
            bound_logs(stack.data_dir / "log")
        if time.monotonic() < revive_at:
            continue
        try:
            stack.revive()
        except Cancelled:
            return
        except StackError as error:
            progress.report("servers", str(error))
            revive_at = time.monotonic() + _REVIVAL_PAUSE


@contextmanager
def _stop_on_signals(stack: Stack) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: stack.cancelled.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


LIMIT: Final = 32 * 1024 * 1024  # bytes


def bound_logs(folder: Path, limit: int = LIMIT) -> list[str]:
    """
    Empty each log that is longer than the limit, keep its old text as `.1`, and return the names.

    The processes keep writing, since logs are opened to append; lines that are written during the copy may be lost.
    """
    found = [log for log in sorted(folder.glob("*.log")) if log.stat().st_size > limit]
    for log in found:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    return [log.name for log in found]
