"""The folders of the stack, always outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from ops.stack.errors import Reason, StackError

_ROOT = 0
_TEMPORARY = "tallyhook-"
_LOCK = ".lock"


def cache_folder() -> Path:
    """Downloads, shared by all stacks: `$XDG_CACHE_HOME/tallyhook`, else `~/.cache/tallyhook`."""
    return _home("XDG_CACHE_HOME", ".cache") / "tallyhook"


def default_data_dir(checkout: Path) -> Path:
    """The data of this checkout's stack: one folder a checkout below `$XDG_STATE_HOME/tallyhook`, for root below /var/tmp."""
    name = f"{checkout.name}-{hashlib.sha256(str(checkout).encode()).hexdigest()[:10]}"
    return (roots_folder() if as_root() else _home("XDG_STATE_HOME", ".local/state") / "tallyhook") / name


def temporary_data_dir(parent: Path | None = None) -> Path:
    """
    Make an empty folder for a stack of tests, below `parent` or where temporary folders go.

    The caller removes it; if the caller is killed, the next caller that needs a folder there does.
    """
    parent = parent or (roots_folder() if as_root() else Path(tempfile.gettempdir()))
    _remove_ownerless(parent)
    folder = private_folder(Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent)), passable=as_root())
    _own(folder)
    return folder


def _own(folder: Path) -> None:
    """Hold a lock beside the folder, which the kernel releases when this process ends in any way."""
    within = folder / _LOCK  # until it is held: a free lock beside a folder means that its owner is dead
    lock = os.open(within, os.O_CREAT | os.O_WRONLY, 0o600)  # stays open on purpose
    fcntl.flock(lock, fcntl.LOCK_EX)
    within.rename(folder.with_name(folder.name + _LOCK))


def _remove_ownerless(parent: Path) -> None:
    for lock in parent.glob(f"{_TEMPORARY}*{_LOCK}"):
        with suppress(OSError), lock.open("wb") as held:  # of another account, or gone meanwhile
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()


def roots_folder() -> Path:
    """Root's own folder that every account can pass through, since Postgres runs as another account then; only root lists it."""
    folder = Path("/var/tmp/tallyhook-root")  # noqa: S108  its owner is checked below
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.stat().st_uid != _ROOT or folder.is_symlink():
        raise StackError(Reason.FILES_UNREACHABLE, f"{folder} belongs to another account; remove it or give --data-dir")
    return private_folder(folder, passable=True)


def private_folder(folder: Path, *, passable: bool = False) -> Path:
    """
    Make the folder if it is missing, readable by its owner only.

    If it is `passable`, other accounts may pass through it to names that they know, as Postgres' account must under root.
    A folder that several accounts share (such as /tmp), or that belongs to another account, keeps its mode.
    """
    folder.mkdir(mode=0o711 if passable else 0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
        mode = stat.S_IMODE(found.st_mode) & ~0o077
        folder.chmod(mode | 0o011 if passable else mode)
    return folder


def as_root() -> bool:
    return os.geteuid() == _ROOT


def _home(variable: str, below_home: str) -> Path:
    named = os.environ.get(variable)
    return Path(named) if named else Path.home() / below_home
