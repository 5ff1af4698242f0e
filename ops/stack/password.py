"""The password of one server: random, and kept beside the server's data for as long as those are kept."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME = "password"


def kept_password(folder: Path) -> str | None:
    """The password that the server of this folder requires; None while it has none."""
    try:
        return (folder / _NAME).read_text() or None
    except FileNotFoundError:
        return None


def ensure_password(folder: Path, apply: Callable[[str], None]) -> str:
    """Return the kept password; if there is none, a fresh one, after `apply` has set it on the server."""
    if known := kept_password(folder):
        return known
    password = secrets.token_hex(24)  # hexadecimal, so that it reads the same in an address, a file and a statement
    apply(password)
    write_private(folder / _NAME, password)  # last: after a start that was killed half-way the next one begins again
    return password


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)  # a file that was left behind would keep its mode
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
