"""Child processes: they end with us, are identified for certain, and are stopped within a limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from ops.stack.places import private_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

_TETHER = Path(__file__).with_name("tether.py")
_POLL = 0.02  # seconds between two looks at a process that is ending


@dataclass(frozen=True)
class Account:
    """The system account a child runs under."""

    name: str
    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


@dataclass(frozen=True)
class Identity:
    """A process, identified by its pid and its time of birth, since a pid may be used again."""

    pid: int
    born: float

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        try:
            return cls(pid=pid, born=psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.born) < 1
            return same and bool(process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def end(self, *, stop_signal: int = signal.SIGTERM, within: timedelta) -> None:
        """End the process: the signal first, SIGKILL once the limit has passed. Works for processes that are not ours."""
        for number, limit in ((stop_signal, within.total_seconds()), (signal.SIGKILL, 5.0)):
            if not self.alive():
                return
            os.kill(self.pid, number)
            deadline = time.monotonic() + limit
            while self.alive() and time.monotonic() < deadline:
                time.sleep(_POLL)


class Child:
    """A running child process with its output in a log file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, stop_signal: int) -> None:
        self._process = process
        self._stop_signal = stop_signal
        self.log = log
        self.identity = Identity.of(process.pid) or Identity(process.pid, 0)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.poll()

    def request_stop(self) -> None:
        """Send the child its stop signal and do not wait."""
        self._process.send_signal(self._stop_signal)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self, within: timedelta) -> None:
        """End the process: its own stop signal first, SIGKILL once the limit has passed."""
        self.request_stop()
        try:
            self._process.wait(within.total_seconds())
        except subprocess.TimeoutExpired:
            self.kill()


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    stop_signal: int = signal.SIGTERM,
    cwd: Path | None = None,
) -> Child:
    """Start a child in its own session (Ctrl-C stays ours), which gets its stop signal if we are killed."""
    tether = [sys.executable, "-I", "-S", _TETHER, os.getpid(), stop_signal, account or "-"]
    private_folder(log.parent)
    with log.open("ab") as output:
        process = (
            _forking_thread()
            .submit(
                subprocess.Popen[bytes],
                [str(word) for word in (*tether, *command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment) if environment is not None else None,
                cwd=cwd,
                start_new_session=True,
            )
            .result()
        )
    return Child(process, log, stop_signal)


@cache
def _forking_thread() -> ThreadPoolExecutor:
    """The one thread that forks. Linux treats the end of the forking *thread* as the parent's, so it must outlive children."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, or a note that it is empty or missing."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) or "(its log is empty)"
    except OSError:
        return "(it left no log)"
