"""A process that reports that it hangs, or that answers no longer, is restarted; one that starts slowly is not."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.stack.supervisor import ProcessSpec, Supervisor
from runtime.addresses import LOOPBACK
from tests.ports import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack.state import ProcessState

FAKE = Path(__file__).with_name("fake_process.py")
HUNG_AFTER = timedelta(seconds=3)


class Watched:
    """A supervisor of one fake process, which reports that it hangs while the file `hangs` exists."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.hangs = folder / "hangs"
        url = f"http://{LOOPBACK}:{port}"
        spec = ProcessSpec(
            name="fake",
            command=(sys.executable, str(FAKE), "fake", str(port), str(folder / "order"), str(self.hangs)),
            ready_url=f"{url}/health/ready",
            live_url=f"{url}/health/live",
        )
        self.supervisor = Supervisor(
            [spec], log_dir=folder, cwd=folder, environment=os.environ, on_change=lambda _: None, hung_after=HUNG_AFTER
        )

    @property
    def state(self) -> ProcessState:
        return self.supervisor.states[0]

    def until(self, state: str, *, not_pid: int | None = None) -> int:
        def reached() -> bool:
            self.supervisor.run_once()
            return self.state.state == state and self.state.pid != not_pid

        wait_until(reached)
        assert self.state.pid is not None
        return self.state.pid


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with _running(Watched(tmp_path)) as found:
        yield found


@contextmanager
def _running(watched: Watched) -> Iterator[Watched]:
    try:
        yield watched
    finally:
        watched.supervisor.stop()


def test_one_that_is_stopped_is_killed_and_started_again(watched: Watched) -> None:
    pid = watched.until("ready")
    os.kill(pid, signal.SIGSTOP)
    watched.until("hung")
    watched.until("ready", not_pid=pid)
    assert watched.state.restarts == 1


def test_one_that_reports_that_it_hangs_is_stopped_and_restarted(watched: Watched) -> None:
    pid = watched.until("ready")
    watched.hangs.touch()
    watched.until("hung")
    watched.hangs.unlink()
    watched.until("ready", not_pid=pid)


def test_one_that_has_never_answered_is_given_the_time_that_it_needs(watched: Watched) -> None:
    watched.supervisor.run_once()
    pid = watched.state.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()

    def waited() -> bool:
        watched.supervisor.run_once()
        assert watched.state.state == "starting"
        return time.monotonic() - start > 2 * HUNG_AFTER.total_seconds()

    wait_until(waited)
    os.kill(pid, signal.SIGCONT)
    assert watched.until("ready") == pid
