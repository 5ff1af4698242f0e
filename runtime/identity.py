"""The name of a task in its log lines and spans: that of its process, or its own if the process has several roles."""

from contextvars import ContextVar
from typing import Final

_name: Final[ContextVar[str | None]] = ContextVar("name", default=None)


def work_as(name: str) -> None:
    """Use this name for the current task from now on, and for every task and callback that it starts."""
    _name.set(name)


def working_as(process: str) -> str:
    """Return the name of the current task: its own, or else that of the process."""
    return _name.get() or process
