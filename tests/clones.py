"""A second checkout of the same code: its own `.env`, its own stack, and the installed packages of this one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[1]
_NOT_COPIED: Final = (".git", ".venv*", ".env", "__pycache__", ".*_cache", ".hypothesis", "node_modules", "tests")


def clone_into(folder: Path) -> Path:
    """Copy what a user has after `git clone`, but the tests."""
    shutil.copytree(CHECKOUT, folder, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    (folder / ".venv").symlink_to(CHECKOUT / ".venv")
    return folder
