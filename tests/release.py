"""The last release, unpacked from its commit, run with the packages of this checkout."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tomllib
from typing import TYPE_CHECKING, Final

from tests.clones import CHECKOUT
from tests.needs import missing

if TYPE_CHECKING:
    from pathlib import Path

_LAUNCHER: Final = """\
import sys
sys.path.insert(0, {folder!r})
from {module} import {function}
sys.exit({function}())
"""


def last_release(folder: Path) -> str:
    """
    Unpack the newest release of the file `RELEASES` into this folder; the path of its `tallyhook`.

    It runs with the packages that are installed for this checkout. One that needs others ends with an ImportError in its log.
    """
    [commit] = [line.split()[1] for line in (CHECKOUT / "RELEASES").read_text().splitlines() if line.startswith("v")][:1]
    words = ["git", "archive", commit]
    packed = subprocess.run(words, cwd=CHECKOUT, capture_output=True, check=False)
    if packed.returncode:
        missing(f"the commit of the last release, {commit}, is not in this clone: {packed.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
    entry = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["scripts"]["tallyhook"]
    module, _, function = entry.partition(":")
    start = folder / "start.py"
    start.write_text(_LAUNCHER.format(folder=str(folder), module=module, function=function))
    return command(folder / "tallyhook", sys.executable, str(start))


def command(path: Path, *words: str) -> str:
    """Write a program that becomes this one, with its own arguments after these words."""
    path.write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
    path.chmod(0o755)
    return str(path)
