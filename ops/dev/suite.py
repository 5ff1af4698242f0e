"""The test suite as `./dev test` runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FAST: Final = ("tests/unit", "tests/integration")
WHOLE: Final = (*FAST, "tests/e2e", "tests/faults")
_PYTEST: Final = (sys.executable, "-m", "pytest")
_MOST: Final = 4  # processes; each brings servers of its own, of about 1.5 GB


def run_suite(checkout: Path, *, fast: bool, coverage: bool) -> int:
    """
    Run all tests, or those without whole systems, and return the first exit code that is not 0.

    `coverage` measures what the processes of the tests themselves run, which costs 70 % more processor time on Python 3.11.

    Files run side by side, each in one process (`tests/sharing.py`). Whole systems mostly wait, so with them there is one process
    more than there are processors. Tests that are marked `alone` bound a wait or memory, and have the machine to themselves.
    """
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C goes to pytest too, which stops its servers: wait for that
    processes = min((os.cpu_count() or 1) + (not fast), _MOST)
    options = ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder", "--durations", "20"]
    if coverage:
        options += ["--cov", "--cov-report", "term:skip-covered"]
    runs = [[*options, "-m", "not alone", *(FAST if fast else WHOLE)]]
    if not fast:
        runs.append(["-m", "alone", "tests/faults"])
    # Hundreds of processes start in a run: none of them is to compile our modules anew.
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    codes = [subprocess.run([*_PYTEST, *run], cwd=checkout, env=environment, check=False).returncode for run in runs]
    return next((code for code in codes if code), 0)
