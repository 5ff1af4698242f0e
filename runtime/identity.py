"""The name under which a task works, in its log lines and spans: its process's, or its own where a process has several roles."""

from contextvars import ContextVar
from typing import Final

_name: Final[ContextVar[str | None]] = ContextVar("name", default=None)


def work_as(name: str) -> None:
    """Have this task work under the name from now on, and with it every task and callback that it begins."""
    _name.set(name)


def working_as(process: str) -> str:
    """Return the name under which this task works: that of the process, unless it has one of its own."""
    return _name.get() or process
