"""Runs work in another process, so that the measurement does not share an interpreter with the load."""

from __future__ import annotations

import multiprocessing
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

Arguments = ParamSpec("Arguments")
Outcome = TypeVar("Outcome")

_END_LIMIT = 5.0  # seconds


class WorkFailed(Exception):
    """The work in the other process raised an exception; its text is the message."""

    reason = "work_failed"


class Work(Generic[Outcome]):
    """The work in the other process: a call waits for its outcome, at most the given seconds."""

    def __init__(self, reader: Connection) -> None:
        self._reader = reader

    def __call__(self, seconds: float) -> Outcome:
        found: Outcome = _outcome(self._reader, seconds)
        return found

    def check(self) -> None:
        """Raise WorkFailed if the work has ended by itself."""
        if self._reader.poll(0):
            _outcome(self._reader, 0)
            raise WorkFailed("it ended before it was stopped")


@contextmanager
def in_other_process(
    work: Callable[Arguments, Outcome], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Iterator[Work[Outcome]]:
    """Run `work` in another process, and yield a handle that waits for its outcome. The process ends with the block."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(writer, work, args, kwargs), daemon=True)
    process.start()
    writer.close()
    try:
        yield Work(reader)
    finally:
        process.join(0)
        process.terminate()
        process.join(_END_LIMIT)
        process.kill()


def _run(writer: Connection, work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent process handles it
    try:
        outcome = (True, work(*args, **kwargs))
    except Exception as error:  # noqa: BLE001  # the parent process reports any exception
        outcome = (False, f"{work.__module__}.{work.__name__}: {type(error).__name__}: {error}")
    writer.send(outcome)


def _outcome(reader: Connection, seconds: float) -> Any:
    if not reader.poll(seconds):
        raise WorkFailed(f"it took longer than {seconds:.0f} s")
    try:
        succeeded, value = reader.recv()
    except EOFError:
        raise WorkFailed("it ended without an outcome") from None
    if not succeeded:
        raise WorkFailed(value)
    return value
