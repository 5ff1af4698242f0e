"""The start of a process, without what it has no use for: a garbage collector that looks often, and parts of libraries."""

import gc
import sys
from typing import Final

_YOUNG: Final = 20_000
"""New objects until the collector examines the youngest ones. Python's 700 are a fraction of one batch."""


def tune_gc() -> None:
    """
    Freeze the objects that exist at startup, and raise the threshold of generation 0 from 700 to 20,000.

    Reference counts free the records; cycles come only from errors and from asyncio, and can wait. This made the relay and the
    workers a fifth faster.
    """
    gc.collect()
    gc.freeze()
    collect_rarely()


def collect_rarely() -> None:
    """Raise the threshold alone: for the start, at which imports make hundreds of thousands of objects and hardly any garbage."""
    gc.set_threshold(_YOUNG, 50, 100)


def import_structlog() -> None:
    """
    Import structlog without rich, by which it draws stack traces for a terminal: our logs are JSON.

    That is 3 to 4 MB of each process. Whoever wants rich for something else imports it as ever.
    """
    if "rich" in sys.modules or "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # an import of it raises ImportError, as where it is not installed
    try:
        import structlog  # noqa: F401, PLC0415  # for all who import it later
    finally:
        del sys.modules["rich"]
