"""Prometheus' own checker, from Debian's package without root: fetched once into the cache that all stacks share."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest

from ops.stack.places import cache_folder
from tests.needs import missing

_PACKAGE: Final = "prometheus=2.42.0+ds-5+deb12u1"
_DIGEST: Final = "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55"  # of its .deb for amd64
_LIMIT: Final = 120  # seconds


class Unavailable(Exception):
    """It cannot be had on this machine; the text says why."""


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The program; where it cannot be had, a test that wants it is `missing` something."""
    try:
        return find_promtool()
    except Unavailable as error:
        missing(f"no promtool: {error}")


def find_promtool() -> Path:
    """
    The one on the PATH, the cached one, or a fresh one.

    Raises Unavailable.
    """
    if installed := shutil.which("promtool"):
        return Path(installed)
    cached = cache_folder() / f"promtool-{_DIGEST[:12]}" / "promtool"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".") as folder:
            _unpack(_download(Path(folder)), Path(folder)).rename(cached)
    return cached


def _download(folder: Path) -> Path:
    """The package by apt, with the lists of this machine or, where it has none, with lists of our own."""
    if not shutil.which("apt-get"):
        raise Unavailable("this machine has no apt-get to fetch Debian's package with")
    own = [f"-oDir::State={folder}", f"-oDir::Cache={folder}", "-oAPT::Sandbox::User="]
    for needed in ("lists", "archives"):
        (folder / needed / "partial").mkdir(parents=True)
    if _run("apt-get", "download", _PACKAGE, folder=folder).returncode:
        _run("apt-get", *own, "update", folder=folder)
        if (done := _run("apt-get", *own, "download", _PACKAGE, folder=folder)).returncode:
            raise Unavailable(f"apt-get cannot fetch {_PACKAGE}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    [package] = folder.glob("prometheus_*.deb")
    if hashlib.sha256(package.read_bytes()).hexdigest() != _DIGEST:
        raise Unavailable(f"{package.name} is not the package that is pinned here")
    return package


def _unpack(package: Path, folder: Path) -> Path:
    if (done := _run("dpkg-deb", "--extract", str(package), str(folder / "package"), folder=folder)).returncode:
        raise Unavailable(f"dpkg-deb cannot unpack it: {done.stderr.strip()}")
    return folder / "package" / "usr" / "bin" / "promtool"


def _run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from error
