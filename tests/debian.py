"""Debian's packages without root: fetched once into the cache that all stacks share, and unpacked there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.stack.places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT: Final = 120  # seconds


class Unavailable(Exception):
    """A package is not available on this machine; the text is the reason."""


def unpacked(name: str, packages: Mapping[str, str]) -> Path:
    """
    Return the folder into which the packages are unpacked; the mapping has the digest of each `package=version`, for amd64.

    Raises Unavailable.
    """
    known = hashlib.sha256("".join(packages.values()).encode()).hexdigest()
    cached = cache_folder() / f"{name}-{known[:12]}"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".") as folder:
            for package, digest in packages.items():
                _unpack(_download(package, digest, Path(folder)), Path(folder))
            try:
                (Path(folder) / "unpacked").rename(cached)
            except OSError:  # another process of these tests was faster
                if not cached.exists():
                    raise
    return cached


def _download(package: str, digest: str, folder: Path) -> Path:
    """The package by apt, with the lists of this machine or, where it has none, with lists of our own."""
    if not shutil.which("apt-get"):
        raise Unavailable("this machine has no apt-get to fetch Debian's package with")
    own = [f"-oDir::State={folder}", f"-oDir::Cache={folder}", "-oAPT::Sandbox::User="]
    for needed in ("lists", "archives"):
        (folder / needed / "partial").mkdir(parents=True, exist_ok=True)
    if _run("apt-get", "download", package, folder=folder).returncode:
        _run("apt-get", *own, "update", folder=folder)
        if (done := _run("apt-get", *own, "download", package, folder=folder)).returncode:
            raise Unavailable(f"apt-get cannot fetch {package}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    [file] = folder.glob(f"{package.partition('=')[0]}_*.deb")
    if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
        raise Unavailable(f"{file.name} is not the package that is pinned here")
    return file


def _unpack(package: Path, folder: Path) -> None:
    if (done := _run("dpkg-deb", "--extract", str(package), str(folder / "unpacked"), folder=folder)).returncode:
        raise Unavailable(f"dpkg-deb cannot unpack it: {done.stderr.strip()}")


def _run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from error
