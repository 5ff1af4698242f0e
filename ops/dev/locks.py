"""The locks of `requirements/`: names, versions and hashes, but no index, so that they work with a mirror as well."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_UV: Final = "uv>=0.13,<0.14"
_OPTIONS: Final = (
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    "--quiet",
)


class Lock(NamedTuple):
    """A file below `requirements/` and its source; `names` go to the standard input of a source that is `-`."""

    file: str
    source: Sequence[str]
    names: str = ""


LOCKS: Final = (
    Lock("runtime.lock", ("pyproject.toml", "--extra", "otel")),
    Lock("dev.lock", ("pyproject.toml", "--all-extras", "-c", "requirements/runtime.lock")),
    Lock("build.lock", ("-", "-c", "requirements/dev.lock"), "hatchling"),
    Lock("generators.lock", ("requirements/generators.in",)),
)


def write_locks(checkout: Path, say: Callable[[str], None], *, upgrade: bool) -> None:
    """Write every lock; a version that is locked stays, unless `upgrade` is set or a limit in `pyproject.toml` excludes it."""
    with tempfile.TemporaryDirectory() as folder:
        # uv is needed here alone, and is larger than everything else that a developer installs.
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, _UV], check=True)
        for lock in LOCKS:
            command = [f"{folder}/bin/uv", "pip", "compile", *lock.source, *_OPTIONS, "-o", f"requirements/{lock.file}"]
            subprocess.run([*command, *(["--upgrade"] if upgrade else [])], cwd=checkout, input=lock.names, text=True, check=True)
            say(f"wrote requirements/{lock.file}")
