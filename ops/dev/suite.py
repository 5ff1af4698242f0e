"""The test suite as `./dev test` runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# Tests of a part run side by side, a file in one process with servers of its own; those that load or kill a whole system need the
# machine for themselves.
RINGS: Final = (
    ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile", "tests/unit", "tests/integration"),
    ("tests/e2e", "tests/faults"),
)


def run_suite(checkout: Path) -> int:
    """Run all rings, also after one has failed, and return the first exit code that is not 0."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C goes to pytest too, which stops its servers: wait for that
    codes = [subprocess.run([sys.executable, "-m", "pytest", *ring], cwd=checkout, check=False).returncode for ring in RINGS]
    return next((code for code in codes if code), 0)
