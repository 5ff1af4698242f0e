"""A command whose output cannot be written fails in one line, and is silent where the reader has left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.settings import environment

_MAIN = "import sys; from ops import entry; sys.argv = ['tallyhook', 'grants']; entry.main()"
_BROKEN = "from ops import cli; cli._run = lambda: (_ for _ in ()).throw(BrokenPipeError(32, 'Broken pipe')); cli.main()"


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_full_disk_is_reported_in_one_line(unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = _run(full.fileno(), unbuffered)
    assert (done.returncode, done.stderr) == (1, "tallyhook: standard output: No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_nothing_is_reported_to_a_reader_that_has_left(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = _run(writing, unbuffered)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_broken_connection_to_a_server_does_not_end_a_process_without_a_word() -> None:
    with Path("/dev/null").open("w") as anywhere:
        done = _run(anywhere.fileno(), "", _BROKEN)
    assert (done.returncode, "Broken pipe" in done.stderr) == (1, True)


def _run(output: int, unbuffered: str, main: str = _MAIN) -> subprocess.CompletedProcess[str]:
    environ = {**environment(), "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(
        [sys.executable, "-c", main], env=environ, stdout=output, stderr=subprocess.PIPE, text=True, check=False
    )
