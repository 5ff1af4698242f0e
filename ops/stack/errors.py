"""The errors of the local stack; each has a stable `reason`."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

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
    """The local stack cannot do what was asked; the message is one line for a person. Each kind has one reason."""

    kind: ClassVar = Reason.STACK_FAILED

    def __init__(self, detail: str) -> None:
        super().__init__(self.kind, detail)


class DownloadRefused(StackError):
    """A jar could not be fetched, or is not the one that was pinned."""

    kind = Reason.DOWNLOAD_REFUSED


class ServerFailed(StackError):
    """A server ended or did not become ready; the message carries the end of its log."""

    kind = Reason.SERVER_FAILED


class ProcessFailed(StackError):
    """One of our own processes failed or keeps ending; the message carries the end of its log."""

    kind = Reason.PROCESS_FAILED


class PortTaken(StackError):
    """A port that was asked for by number is in use by someone else."""

    kind = Reason.PORT_TAKEN


class AlreadyRunning(StackError):
    """Another process holds this data directory."""

    kind = Reason.ALREADY_RUNNING


class Unreachable(StackError):
    """The account that a server must run under cannot reach its files."""

    kind = Reason.FILES_UNREACHABLE


class Cancelled(StackError):
    """The start was called off from outside."""

    kind = Reason.CANCELLED


class ShellStale(StackError):
    """The shell has settings of a stack that is gone, or of another checkout."""

    kind = Reason.SHELL_STALE
