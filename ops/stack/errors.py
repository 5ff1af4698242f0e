"""The errors of the local stack; each has a stable `reason`."""

from __future__ import annotations

from enum import StrEnum

from runtime.errors import Failure


class Reason(StrEnum):
    """The reasons of this package's failures."""

    STACK_FAILED = "stack_failed"
    DOWNLOAD_REFUSED = "download_refused"
    SERVER_FAILED = "server_failed"
    PROCESS_FAILED = "process_failed"
    PORT_TAKEN = "port_taken"
    ALREADY_RUNNING = "already_running"
    FILES_UNREACHABLE = "files_unreachable"
    CANCELLED = "cancelled"
    SHELL_STALE = "shell_stale"


class StackError(Failure[Reason]):
    """The local stack failed; the message is one line for a person, perhaps with the end of a log below it."""


class PortTaken(StackError):
    """A port that was requested by its number is in use by another program."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.PORT_TAKEN, detail)


class Cancelled(StackError):
    """The start was cancelled from outside."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.CANCELLED, detail)
