"""A stack that outlives the command that started it."""

from __future__ import annotations

import subprocess
import time
from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING

from ops.stack.child import tail
from ops.stack.errors import Reason, StackError
from ops.stack.places import as_root, private_folder
from ops.stack.state import StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_POLL = 0.1  # seconds
_LEFTOVER_LIMIT = timedelta(seconds=20)
_STOP_LIMIT = timedelta(seconds=120)  # gateway, workers, relay and servers, each with its own limit


def up_detached(command: Sequence[str], checkout: Path, data_dir: Path, print_line: Callable[[str], None]) -> None:
    """Start this `up` in its own session and return once everything is ready; raise its error otherwise."""
    before = StateFile(data_dir).read()
    if before.running:
        raise before.already_running(data_dir)
    private_folder(data_dir, passable=as_root())
    log = private_folder(data_dir / "log") / "up.log"
    with log.open("wb") as output:
        supervisor = subprocess.Popen(
            command, cwd=checkout, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    # Reaps the supervisor if it ends while this process still lives.
    Thread(target=supervisor.wait, daemon=True).start()
    try:
        _await_ready(supervisor, data_dir, log, print_line)
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        raise


def _await_ready(supervisor: subprocess.Popen[bytes], data_dir: Path, log: Path, print_line: Callable[[str], None]) -> None:
    with log.open() as lines:
        while supervisor.poll() is None:
            state = StateFile(data_dir).read()
            if state.phase == "ready" and state.supervisor and state.supervisor.pid == supervisor.pid:
                return
            for line in lines if state.phase != "failed" else ():  # the failure is reported below, once
                print_line(line.rstrip("\n"))
            time.sleep(_POLL)
    failure = StateFile(data_dir).read().failure
    raise StackError(
        Reason.PROCESS_FAILED,
        failure or f"the supervisor ended with code {supervisor.returncode}; the end of {log}:\n{tail(log)}",
    )


def down(data_dir: Path, print_line: Callable[[str], None]) -> bool:
    """Stop the stack on this data directory, or what a killed supervisor left running; return True if anything ran."""
    file = StateFile(data_dir)
    state = file.read()
    running = state.running
    if running and state.supervisor:
        print_line(f"stopping the stack on {data_dir} (pid {state.supervisor.pid})")
        state.supervisor.end(within=_STOP_LIMIT)
    leftovers = file.read().leftovers()
    for leftover in leftovers:
        leftover.end(within=_LEFTOVER_LIMIT)
    if running or leftovers:
        file.change(phase="down", servers={}, processes=())
    return running or bool(leftovers)
