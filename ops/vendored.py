"""
The console's files of npm packages: `--check` compares them with their digests, without it they are fetched again.

`vendored.toml` beside them names their packages, versions and licences.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).parents[1] / "console/static/vendor"
LIST: Final = "vendored.toml"


class Vendored(NamedTuple):
    """A file of a package; `source` is its path there."""

    package: str
    file: str
    source: str
    licence: str
    sha256: str


def main() -> int:
    """Check or fetch; return the exit code."""
    listed = list(read(FOLDER))
    if "--check" not in sys.argv[1:]:
        fetch(FOLDER, listed)
    faults = list(faults_of(FOLDER, listed))
    print("\n".join(faults) or f"{len(listed)} files match their packages")
    return 1 if faults else 0


def read(folder: Path) -> Iterator[Vendored]:
    """Read the list of the folder."""
    for package, entries in tomllib.loads((folder / LIST).read_text()).items():
        for entry in entries:
            yield Vendored(package, **entry)


def faults_of(folder: Path, listed: list[Vendored]) -> Iterator[str]:
    """Yield each file that is missing, of another digest, or in no list."""
    for each in listed:
        path = folder / each.file
        if not path.exists():
            yield f"{each.file}: is missing; `python -m ops.vendored` fetches it"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != each.sha256:
            yield f"{each.file}: is not the file of {each.package} that {LIST} names"
    known = {LIST, *(each.file for each in listed)}
    yield from (f"{path.name}: is not in {LIST}" for path in sorted(folder.iterdir()) if path.name not in known)


def fetch(folder: Path, listed: list[Vendored]) -> None:
    """Fetch every package and copy its files."""
    with tempfile.TemporaryDirectory() as place:
        packages = sorted({each.package for each in listed})
        subprocess.run(
            [
                shutil.which("npm") or "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--prefix",
                place,
                *packages,
            ],
            check=True,
        )
        for each in listed:
            name = each.package.rpartition("@")[0]
            (folder / each.file).write_bytes((Path(place) / "node_modules" / name / each.source).read_bytes())


if __name__ == "__main__":
    sys.exit(main())
