"""
Supervises our own processes: starts them, restarts those that die or hang with growing pauses, stops them in order.

A process hangs if it reports so itself (`/health/live` is 503), or if it has answered once and then not for `hung_after`.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from ops.stack.child import Child, spawn, tail
from ops.stack.errors import Reason, StackError
from ops.stack.probe import answers, status_of
from ops.stack.state import ProcessState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

FIRST_PAUSE: Final = timedelta(milliseconds=500)
LONGEST_PAUSE: Final = timedelta(seconds=10)
STEADY_AFTER: Final = timedelta(seconds=30)
HUNG_AFTER: Final = timedelta(minutes=1)
_LAST_CHANCE: Final = timedelta(seconds=5)
"""The time between SIGTERM and SIGKILL for a process that hangs; one that SIGSTOP has stopped reacts only to the latter."""
_PROBE_READY_EVERY = 5.0  # seconds; a probe costs an idle process a tenth of its own load
_PROBE_STARTING_EVERY = 0.1
_DEATHS_AT_START = 3


@dataclass(frozen=True)
class ProcessSpec:
    """A process to keep running, and the probe of its readiness."""

    name: str
    command: tuple[str, ...]
    ready_url: str
    environment: Mapping[str, str] = field(default_factory=dict)
    web: str | None = None
    stop_rank: int = 0  # the lowest rank is stopped first, and has ended before the next one is stopped
    stop_limit: timedelta = timedelta(seconds=20)
    live_url: str | None = None


def pause_after(previous: timedelta | None, lived: timedelta) -> timedelta:
    """Return the pause before a restart: it doubles up to a bound, and starts over after a steady run."""
    if previous is None or lived >= STEADY_AFTER:
        return FIRST_PAUSE
    return min(previous * 2, LONGEST_PAUSE)


class Supervisor:
    """Runs a list of processes; the caller owns the loop and calls `run_once` a few times a second."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        log_dir: Path,
        cwd: Path,
        environment: Mapping[str, str],
        on_change: Callable[[tuple[ProcessState, ...]], None],
        hung_after: timedelta = HUNG_AFTER,
    ) -> None:
        self._processes = [_Supervised(spec, log_dir / f"{spec.name}.log", cwd, environment, hung_after) for spec in specs]
        # In threads: a process that does not answer must not delay the checks of the others.
        self._probing = ThreadPoolExecutor(max(1, len(specs)), thread_name_prefix="probe")
        self._on_change = on_change
        self._reported: tuple[ProcessState, ...] = ()

    def run_once(self) -> int:
        """Start the processes that are due, check the others, and return the number of restarts."""
        now = time.monotonic()
        restarted = sum(process.look_after(now, self._probing) for process in self._processes)
        self._report_changes()
        return restarted

    @property
    def states(self) -> tuple[ProcessState, ...]:
        return tuple(process.describe() for process in self._processes)

    @property
    def all_ready(self) -> bool:
        return all(process.state == "ready" for process in self._processes)

    def check_start(self) -> None:
        """Raise, with the end of its log, for a process that keeps dying before it ever served."""
        for process in self._processes:
            if process.restarts >= _DEATHS_AT_START and not process.has_served:
                raise StackError(
                    Reason.PROCESS_FAILED, f"{process.spec.name} keeps ending; the end of {process.log}:\n{tail(process.log)}"
                )

    def stop(self) -> None:
        """Stop them rank by rank; within a rank all at once."""
        by_rank = sorted(self._processes, key=lambda process: process.spec.stop_rank)
        for _rank, group in groupby(by_rank, key=lambda process: process.spec.stop_rank):
            together = list(group)
            for process in together:
                process.request_stop()
            for process in together:
                process.stop()
            self._report_changes()
        self._probing.shutdown(wait=False, cancel_futures=True)

    def _report_changes(self) -> None:
        states = self.states
        if states != self._reported:
            self._reported = states
            self._on_change(states)


class _Supervised:
    def __init__(self, spec: ProcessSpec, log: Path, cwd: Path, environment: Mapping[str, str], hung_after: timedelta) -> None:
        self.spec = spec
        self.log = log
        self.state = "starting"
        self.restarts = 0
        self.has_served = False
        self._cwd = cwd
        self._environment = {**environment, **spec.environment}
        self._child: Child | None = None
        self._pause: timedelta | None = None
        self._started_at = 0.0
        self._start_due_at = 0.0
        self._probe_due_at = 0.0
        self._hung_after = hung_after.total_seconds()
        self._probe: Future[_Answers] | None = None
        self._lived_at: float | None = None
        self._kill_due_at: float | None = None

    def look_after(self, now: float, probing: ThreadPoolExecutor) -> bool:
        """Act on one process if it is due, and return True if it was restarted after a death."""
        if self._child is None:
            return self._start(now) if now >= self._start_due_at else False
        if self._child.exit_code is not None:
            self._note_end(now)
        elif self._kill_due_at is not None:
            if now >= self._kill_due_at:
                self._child.kill()
        elif self._probe is not None:
            if self._probe.done():
                self._take(self._probe.result(), now)
        elif now >= self._probe_due_at:
            self._probe = probing.submit(_probe_health, self.spec)
        return False

    def request_stop(self) -> None:
        if self._child:
            self._child.request_stop()

    def stop(self) -> None:
        if self._child:
            self._child.stop(self.spec.stop_limit)
        self._child, self.state = None, "stopped"

    def describe(self) -> ProcessState:
        identity = self._child.identity if self._child else None
        return ProcessState(
            name=self.spec.name,
            state=self.state,
            log=str(self.log),
            pid=identity.pid if identity else None,
            born=identity.born if identity else 0.0,
            restarts=self.restarts,
            web=self.spec.web,
        )

    def _start(self, now: float) -> bool:
        again = self._pause is not None
        self._child = spawn(self.spec.command, log=self.log, environment=self._environment, cwd=self._cwd)
        self._started_at = self._probe_due_at = now
        self._probe = self._lived_at = self._kill_due_at = None
        self.restarts += again
        self.state = "starting"
        return again

    def _note_end(self, now: float) -> None:
        self._pause = pause_after(self._pause, timedelta(seconds=now - self._started_at))
        self._start_due_at = now + self._pause.total_seconds()
        self._child, self.state = None, "restarting"

    def _take(self, found: _Answers, now: float) -> None:
        self._probe = None
        self.has_served = self.has_served or found.ready
        self.state = "ready" if found.ready else "unready" if self.has_served else "starting"
        self._probe_due_at = now + (_PROBE_READY_EVERY if found.ready else _PROBE_STARTING_EVERY)
        if found.alive:
            self._lived_at = now
        elif found.alive is False or (self._lived_at is not None and now - self._lived_at > self._hung_after):
            self._end(now)

    def _end(self, now: float) -> None:
        """Send the hanging process its stop signal, and let it be killed soon after."""
        self.state = "hung"
        self._kill_due_at = now + _LAST_CHANCE.total_seconds()
        self.request_stop()


class _Answers(NamedTuple):
    """The health that a process reports; `alive` is None if it reports nothing."""

    ready: bool
    alive: bool | None


def _probe_health(spec: ProcessSpec) -> _Answers:
    ready = answers(spec.ready_url, timeout=2.0)
    if spec.live_url is None:
        return _Answers(ready, ready or None)
    status = status_of(spec.live_url, timeout=2.0)
    return _Answers(ready, None if status is None else status != HTTPStatus.SERVICE_UNAVAILABLE)
