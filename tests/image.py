"""The image without Docker: what the Dockerfile's own lines copy and run, in folders of this machine and on this Python."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
_NOT_OURS: Final = {"PIP_NO_CACHE_DIR", "PATH"}  # this machine has the download already
_OF_THE_CHECKOUT: Final = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}


class Line(NamedTuple):
    """One instruction of a Dockerfile; `stage` counts its FROMs from 0."""

    stage: int
    word: str
    rest: str


def lines() -> list[Line]:
    """The instructions in their order, those over several lines as one."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Line] = []
    for line in filter(None, text.splitlines()):
        word, _, rest = line.partition(" ")
        stage = (found[-1].stage if found else -1) + (word == "FROM")
        found.append(Line(stage, word, rest.strip()))
    return found


class Image:
    """The first stage, built below a folder: its absolute paths are paths below that folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cwd = folder
        self._environment = {name: text for name, text in os.environ.items() if name not in _OF_THE_CHECKOUT}
        self.bin = folder / "opt/tallyhook/bin"
        self.tallyhook = self.bin / "tallyhook"

    def build(self) -> None:
        """Run the lines; raises CalledProcessError with the output of a line that fails."""
        base = self._folder / "base"  # in place of the Python of the stage's base image
        subprocess.run([sys.executable, "-m", "venv", base], check=True)
        self._environment["PATH"] = f"{base / 'bin'}:{self._environment['PATH']}"
        for line in lines():
            if line.stage == 0 and line.word != "FROM":
                getattr(self, f"_{line.word.lower()}")(line.rest)

    def _env(self, rest: str) -> None:
        pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
        self._environment |= {name: text for name, text in pairs.items() if name not in _NOT_OURS}

    def _workdir(self, rest: str) -> None:
        self._cwd = self._folder / rest.lstrip("/")
        self._cwd.mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        for source in sources:
            place = self._cwd / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)

    def _run(self, rest: str) -> None:
        command = re.sub(r"(?<![\w.])/(opt|wheels|src)\b", rf"{self._folder}/\1", rest)
        done = subprocess.run(
            ["/bin/sh", "-euc", command], cwd=self._cwd, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
