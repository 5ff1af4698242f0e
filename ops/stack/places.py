"""Where the stack keeps things: always outside the checkout."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from ops.stack.errors import Unreachable

_ROOT = 0


def cache_folder() -> Path:
    """Downloads, shared by all stacks: `$XDG_CACHE_HOME/tallyhook`, else `~/.cache/tallyhook`."""
    return _home("XDG_CACHE_HOME", ".cache") / "tallyhook"


def default_data_dir(checkout: Path) -> Path:
    """The data of this checkout's stack: one folder a checkout below `$XDG_STATE_HOME/tallyhook`, for root below /var/tmp."""
    name = f"{checkout.name}-{hashlib.sha256(str(checkout).encode()).hexdigest()[:10]}"
    return (roots_folder() if as_root() else _home("XDG_STATE_HOME", ".local/state") / "tallyhook") / name


def temporary_data_dir() -> Path:
    """A new empty folder for a stack of tests; the caller removes it."""
    folder = Path(tempfile.mkdtemp(prefix="tallyhook-", dir=roots_folder() if as_root() else None))
    folder.chmod(0o755)
    return folder


def roots_folder() -> Path:
    """Root's own folder that every account can reach, since Postgres runs as another account then."""
    folder = Path("/var/tmp/tallyhook-root")  # noqa: S108  its owner is checked below
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.stat().st_uid != _ROOT or folder.is_symlink():
        raise Unreachable(f"{folder} belongs to another account; remove it or give --data-dir")
    return folder


def as_root() -> bool:
    return os.geteuid() == _ROOT


def _home(variable: str, below_home: str) -> Path:
    named = os.environ.get(variable)
    return Path(named) if named else Path.home() / below_home
