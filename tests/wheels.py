"""Packages of PyPI outside the lock: they contain a program or data, are pinned by digest, and fetched once for all stacks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from ops.stack.places import cache_folder
from tests.needs import missing

_LIMIT: Final = 180  # seconds


@cache
def wheel(requirement: str, digest: str) -> Path:
    """The package as PyPI has it; pip refuses one of another digest."""
    folder = cache_folder() / "wheels" / digest[:12]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as name:
            wanted, fresh = Path(name) / "wanted.txt", Path(name) / "fresh"
            wanted.write_text(f"{requirement} --hash=sha256:{digest}\n")
            pip = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--only-binary=:all:",
            ]
            try:
                done = subprocess.run(
                    [*pip, "--require-hashes", "--requirement", wanted, "--dest", fresh],
                    capture_output=True,
                    text=True,
                    timeout=_LIMIT,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                missing(f"no {requirement}: {error}")
            if done.returncode:
                missing(f"no {requirement}: pip cannot fetch it: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
            if not folder.exists():
                fresh.rename(folder)
    [found] = folder.glob("*.whl")
    return found
