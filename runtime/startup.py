"""Savings at the start of a process: the garbage collector runs rarely, and unused parts of libraries are not imported."""

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
    """Only raise the threshold: for the start, when imports make hundreds of thousands of objects and hardly any garbage."""
    gc.set_threshold(_YOUNG, 50, 100)


def import_structlog() -> None:
    """
    Import structlog without rich, which it uses for stack traces on a terminal: our logs are JSON.

    This saves 3 to 4 MB in each process. Other code can still import rich.
    """
    if "rich" in sys.modules or "structlog" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # an import of it raises ImportError, as where it is not installed
    try:
        import structlog  # noqa: F401, PLC0415  # later imports find it loaded
    finally:
        del sys.modules["rich"]
