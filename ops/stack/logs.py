"""Logs that do not grow for ever: what a stack runs writes to files that nobody else looks after."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LIMIT: Final = 32 * 1024 * 1024  # bytes


def bound_logs(folder: Path, limit: int = LIMIT) -> list[str]:
    """
    Begin each log anew that is longer than the limit, its old text beside it as `.1`; returns their names.

    Who writes goes on writing, for logs are opened to append; what is written while the text is copied may be lost.
    """
    found = [log for log in sorted(folder.glob("*.log")) if log.stat().st_size > limit]
    for log in found:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    return [log.name for log in found]
