"""Programs and documents of npm packages, of pinned versions: fetched once into the cache that all stacks share."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.stack.places import cache_folder
from runtime.outgoing import ca_bundle
from tests.needs import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

NEWMAN: Final = "newman@6.2.2"
ASYNCAPI_SPECS: Final = "@asyncapi/specs@6.11.1"
_LIMIT: Final = 180  # seconds


def npm_package(*specs: str) -> Path:
    """The folder that has the packages in its `node_modules`; without them the test is `missing` something."""
    folder = cache_folder() / "npm" / "+".join(spec.strip("@").replace("/", "-") for spec in specs)
    if not folder.exists():
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            missing(f"no {' '.join(specs)}: node and npm are not on the PATH")
        _install(npm, specs, folder)
    return folder


def _install(npm: str, specs: Sequence[str], folder: Path) -> None:
    """Beside its place first, so that one that was cut short is not taken for a whole one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as name:
        fresh = Path(name) / "fresh"
        fresh.mkdir()
        # Node uses only its own list of authorities; this makes it trust the machine's, as everything else does.
        trusted = os.environ.get("NODE_EXTRA_CA_CERTS") or ca_bundle() or ""
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(fresh), *specs]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
                check=False,
                env=os.environ | {"NODE_EXTRA_CA_CERTS": trusted},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            missing(f"no {' '.join(specs)}: npm: {error}")
        if done.returncode:
            missing(f"no {' '.join(specs)}: npm cannot fetch it: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        if not folder.exists():
            fresh.rename(folder)
