"""The files of npm packages: a changed, a missing and an unlisted one are reported."""

from __future__ import annotations

import shutil
from pathlib import Path

from ops.vendored import FOLDER, faults_of, read


def faults(folder: Path) -> list[str]:
    return [fault.partition(":")[0] for fault in faults_of(folder, list(read(folder)))]


def test_each_file_is_as_its_package_has_it_and_any_other_is_reported(tmp_path: Path) -> None:
    assert faults(FOLDER) == []
    copy = Path(shutil.copytree(FOLDER, tmp_path / "vendor"))
    (copy / "htmx.min.js").write_bytes((copy / "htmx.min.js").read_bytes() + b" ")
    (copy / "uPlot.min.css").unlink()
    (copy / "stranger.js").touch()
    assert sorted(faults(copy)) == ["htmx.min.js", "stranger.js", "uPlot.min.css"]
