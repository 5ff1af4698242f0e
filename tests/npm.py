"""Programs and documents of npm packages, of pinned versions: fetched once into the cache that all stacks share."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest

from ops.stack.places import cache_folder

NEWMAN: Final = "newman@6.2.2"
ASYNCAPI_SPECS: Final = "@asyncapi/specs@6.11.1"
_LIMIT: Final = 180  # seconds


def npm_package(spec: str) -> Path:
    """The folder that has the package in its `node_modules`; skips the test, and says why, where it cannot be had."""
    folder = cache_folder() / "npm" / spec.strip("@").replace("/", "-")
    if not folder.exists():
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            pytest.skip(f"no {spec}: node and npm are not on the PATH")
        _install(npm, spec, folder)
    return folder


def _install(npm: str, spec: str, folder: Path) -> None:
    """Beside its place first, so that one that was cut short is not taken for a whole one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as name:
        fresh = Path(name) / "fresh"
        fresh.mkdir()
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(fresh), spec]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"no {spec}: npm: {error}")
        if done.returncode:
            pytest.skip(f"no {spec}: npm cannot fetch it: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        if not folder.exists():
            fresh.rename(folder)
