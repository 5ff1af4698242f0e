"""A folder of secrets as Kubernetes mounts it: each file links into `..data`, a link that is swapped on a change."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Mount:
    """The secrets by name; `swap` changes all of them in one step."""

    def __init__(self, folder: Path, **secrets: str) -> None:
        self.folder = folder
        self._numbers = count()
        folder.mkdir(exist_ok=True)
        self.swap(**secrets)

    def swap(self, **secrets: str) -> None:
        """Replace all secrets by these."""
        fresh = self.folder / f"..{next(self._numbers)}"
        fresh.mkdir()
        for name, text in secrets.items():
            (fresh / name).write_text(text)
        pending = self.folder / "..data_tmp"
        pending.symlink_to(fresh.name)
        pending.rename(self.folder / "..data")
        for name in secrets:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for link in self.folder.iterdir():
            if not link.name.startswith(".") and link.name not in secrets:
                link.unlink()
