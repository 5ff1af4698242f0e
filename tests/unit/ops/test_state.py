"""The state file of a stack, and the ownership of its data directory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ops.stack.child import Identity
from ops.stack.errors import StackError
from ops.stack.state import ProcessState, StackState, StateFile, hold
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from pathlib import Path


def ourselves() -> Identity:
    identity = Identity.of(os.getpid())
    assert identity
    return identity


def test_a_state_reads_back_as_written(tmp_path: Path) -> None:
    process = ProcessState(name="relay", state="ready", log="relay.log", pid=7, restarts=2)
    StateFile(tmp_path).change(phase="ready", ports={"kafka": 9092}, processes=(process,))
    assert StateFile(tmp_path).read() == StackState(phase="ready", ports={"kafka": 9092}, processes=(process,))


def test_the_state_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = StateFile(tmp_path)
    file.change(phase="ready")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b'{"phase": 3}'])
def test_a_state_that_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    assert StateFile(tmp_path).read() == StackState()


def test_a_later_process_with_the_same_pid_is_not_a_leftover(tmp_path: Path) -> None:
    alive = ourselves()
    namesake = Identity(alive.pid, alive.born - 100)
    StateFile(tmp_path).change(servers={"postgres": namesake, "kafka": alive})
    assert StateFile(tmp_path).read().leftovers() == [alive]


def test_a_process_that_ignores_the_stop_signal_is_killed_once_the_limit_has_passed() -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        identity = Identity.of(process.pid)
        assert identity
        identity.end(within=timedelta(milliseconds=50))
        assert process.wait(LIMIT) == -9


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    StateFile(tmp_path).change(supervisor=ourselves())
    with hold(tmp_path), pytest.raises(StackError, match=f"pid {os.getpid()}"), hold(tmp_path):
        pass


def test_an_owner_that_is_gone_leaves_the_directory_free(tmp_path: Path) -> None:
    with hold(tmp_path):
        pass
    with hold(tmp_path):
        pass
