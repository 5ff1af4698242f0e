"""Folders of a killed test run are deleted by the next one; folders in use stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ops.stack import places
from ops.stack.places import temporary_data_dir

if TYPE_CHECKING:
    import pytest

_DIE = "import os; print(places.temporary_data_dir(), flush=True); os.kill(os.getpid(), 9)"


def test_the_folder_of_the_dead_goes_and_that_of_the_living_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(places, "as_root", lambda: False)
    monkeypatch.setattr("tempfile.tempdir", None)
    mine = temporary_data_dir()
    script = f"from ops.stack import places; places.as_root = lambda: False; {_DIE}"
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert left.is_dir(), killed.stderr
    (left / "data").write_text("of a server")
    latest = temporary_data_dir()
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {mine.name, latest.name}
