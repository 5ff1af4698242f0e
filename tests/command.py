"""
The operators' command line, each command in its own process.

The process is forked from one that has all modules: importing them is most of what a command costs. The console script, which a
shell runs, is run by the tests of the README, of the runbooks and of the image.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from ops import cli
from tests.waiting import LIMIT, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("ops.processes.gateway", "ops.processes.relay", "ops.processes.worker", "ops.doctor.examination"),
        *("operations.rebuild.run", "operations.backfill.run", "projections.retention", __name__),
        *sorted({place.module for place in cli.PLACES.values()}),
    ]
)
_PRINTED: Final = ("out", "err")
_ONE_AT_A_TIME: Final = threading.Lock()
"""Only one thread may read an exit code: a second one gets none, and starting a process reads the exit codes of all."""


class Command:
    """A running `tallyhook` with these arguments; at the end of a block it is killed if it still runs."""

    def __init__(self, environment: Mapping[str, str], *words: str, typed: str = "", folder: Path | None = None) -> None:
        self._words = words
        self._files = Path(tempfile.mkdtemp())
        (self._files / "typed").write_text(typed)
        for name in _PRINTED:
            (self._files / name).touch()
        settings = (list(words), dict(environment), self._files, folder or Path.cwd())
        self._process = _FORKS.Process(target=_run, args=settings, daemon=True)
        with _ONE_AT_A_TIME:
            self._process.start()

    def runs(self) -> bool:
        with _ONE_AT_A_TIME:
            return self._process.exitcode is None

    def ended(self, within: float = LIMIT) -> subprocess.CompletedProcess[str]:
        """Wait for its end; returns what it has printed."""
        wait_until(lambda: not self.runs(), seconds=within)
        return self._result()

    def printed(self) -> str:
        """Return what it has printed so far."""
        return "".join((self._files / name).read_text(errors="replace") for name in _PRINTED)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the signal, which by default ends it at once."""
        if self.runs() and self._process.pid:
            os.kill(self._process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        self.ended()
        shutil.rmtree(self._files, ignore_errors=True)

    def _result(self) -> subprocess.CompletedProcess[str]:
        out, err = ((self._files / name).read_text(errors="replace") for name in _PRINTED)
        return subprocess.CompletedProcess(["tallyhook", *self._words], self._process.exitcode or 0, out, err)


def tallyhook(
    environment: Mapping[str, str], *words: str, typed: str = "", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end in this environment; `typed` is what the operator types."""
    with Command(environment, *words, typed=typed, folder=folder) as command:
        return command.ended()


async def tallyhook_beside(
    environment: Mapping[str, str], *words: str, typed: str = "", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it while the event loop of the test goes on."""
    return await asyncio.to_thread(tallyhook, environment, *words, typed=typed, folder=folder)


def _run(words: list[str], environment: dict[str, str], files: Path, folder: Path) -> None:
    """Become the command: its files instead of ours, its environment, its folder."""
    with (files / "typed").open() as typed, (files / "out").open("w") as out, (files / "err").open("w") as err:
        for number, file in enumerate((typed, out, err)):
            os.dup2(file.fileno(), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # multiprocessing gave its child none
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["tallyhook", *words]
    try:
        cli.main()
    except Exception:  # noqa: BLE001  # as at the end of any process
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
