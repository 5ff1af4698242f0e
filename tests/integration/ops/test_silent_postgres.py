"""A Postgres that is there and says nothing, as one whose disk hangs, holds up the end of no process."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import psutil

from migrations import chain
from outbox.settings import RetentionSettings
from outbox.upkeep import make_days_ahead
from tests.integration.ops.processes import running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import StartStack

PROCESSES: Final = ("gateway", "relay")
SHORT: Final = {"SHUTDOWN_DELAY": "0s", "SHUTDOWN_GRACE": "1s"}


@contextmanager
def silent(pid: int) -> Iterator[None]:
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_process_that_is_asked_to_stop_ends_although_postgres_is_silent(own_stack: StartStack, tmp_path: Path) -> None:
    postgres = own_stack("postgres").postgres
    chain.upgrade(postgres.url)
    make_days_ahead(RetentionSettings.load({"DATABASE_URL": postgres.url}))
    assert postgres.pid
    with ExitStack() as ends:
        processes = [ends.enter_context(running((name,), tmp_path, DATABASE_URL=postgres.url, **SHORT)) for name in PROCESSES]
        for each in processes:
            wait_until(lambda each=each: each.ready()[0] == 200)
        with silent(postgres.pid):
            for each in processes:
                each.process.terminate()
            assert [each.process.wait(120) for each in processes] == [0, 0]
        gateway, _ = processes  # the relay may have been between two statements
        assert [line["reason"] for line in gateway.logged("left_unfinished")] == ["shutdown_ignored"]


def test_a_stop_with_patience_ends_what_would_wait_for_ever() -> None:
    script = "import threading; from runtime.process import Stop; Stop(0.2).ask(); threading.Event().wait()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "shutdown_ignored" in done.stdout + done.stderr
