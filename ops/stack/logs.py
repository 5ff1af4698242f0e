"""Bounds the logs of a stack, whose files no other program rotates."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

LIMIT: Final = 32 * 1024 * 1024  # bytes


def bound_logs(folder: Path, limit: int = LIMIT) -> list[str]:
    """
    Start each log anew that is longer than the limit, keep its old text as `.1`, and return their names.

    Who writes goes on writing, for logs are opened to append; what is written while the text is copied may be lost.
    """
    found = [log for log in sorted(folder.glob("*.log")) if log.stat().st_size > limit]
    for log in found:
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        os.truncate(log, 0)
    return [log.name for log in found]
