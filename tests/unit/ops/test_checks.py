"""The report of the static checks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ops.dev.checkout import run_checks

if TYPE_CHECKING:
    from pathlib import Path

GOOD = (sys.executable, "-c", "print('not shown')")
BAD = (sys.executable, "-c", "import sys; print('what is wrong'); sys.exit(1)")


def test_all_run_and_only_a_failed_one_shows_its_output(tmp_path: Path) -> None:
    printed: list[str] = []
    assert not run_checks(tmp_path, printed.append, {"first": BAD, "second": GOOD})
    assert printed == ["first: failed", "what is wrong", "second: ok"]


def test_all_passed(tmp_path: Path) -> None:
    assert run_checks(tmp_path, lambda _line: None, {"only": GOOD})
