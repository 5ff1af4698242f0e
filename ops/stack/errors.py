"""What can go wrong with the local stack; every error has a stable `reason`."""

from __future__ import annotations

from typing import ClassVar


class StackError(Exception):
    """The local stack cannot do what was asked; the message is one line for a person."""

    reason: ClassVar[str] = "stack_failed"


class DownloadRefused(StackError):
    """A jar could not be fetched, or is not the one that was pinned."""

    reason = "download_refused"


class ServerFailed(StackError):
    """A server ended or did not become ready; the message carries the end of its log."""

    reason = "server_failed"


class ProcessFailed(StackError):
    """One of our own processes failed or keeps ending; the message carries the end of its log."""

    reason = "process_failed"


class PortTaken(StackError):
    """A port that was asked for by number is in use by someone else."""

    reason = "port_taken"


class AlreadyRunning(StackError):
    """Another process holds this data directory."""

    reason = "already_running"


class Unreachable(StackError):
    """The account that a server must run under cannot reach its files."""

    reason = "files_unreachable"


class Cancelled(StackError):
    """The start was called off from outside."""

    reason = "cancelled"


class ShellStale(StackError):
    """The shell has settings of a stack that is gone, or of another checkout."""

    reason = "shell_stale"
