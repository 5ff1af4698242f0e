"""The stop of a long-running process: it ends on request, and waits without polling."""

import os
import select
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Protocol

import structlog

log = structlog.get_logger()


def stop_signals() -> list[signal.Signals]:
    """Return the signals that request the stop of a process; SIGHUP only if it was not ignored before, as `nohup` does."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hang_up]


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def leave_within(seconds: float, code: int = 0) -> None:
    """End the process after this time, whatever it still waits for; committed work is durable, and the rest is done again."""
    limit = threading.Timer(seconds, _leave, (code,))
    limit.daemon = True
    limit.start()


def _leave(code: int) -> None:
    log.warning("left_unfinished", reason="shutdown_ignored")
    os._exit(code)


class Stop:
    """A request to stop, which can wake a blocking wait; after `patience` seconds, if given, the process ends in any case."""

    def __init__(self, patience: float | None = None) -> None:
        self._patience = patience
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._requested = threading.Event()

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def request(self) -> None:
        if not self._requested.is_set():
            self._requested.set()
            self._writer.send(b"!")
            if self._patience is not None:
                leave_within(self._patience)

    def on_signals(self) -> None:
        """Stop at SIGTERM, SIGINT and SIGHUP; main thread only."""
        for number in stop_signals():
            signal.signal(number, lambda *_: self.request())

    def wait(self, seconds: float, *readable: HasFileno) -> Sequence[HasFileno]:
        """Wait for the request, for the time, or until one of the others can be read; return those that can be read."""
        if self.requested:
            return ()
        ready, _, _ = select.select([self._reader, *readable], [], [], max(0.0, seconds))
        return [item for item in ready if item is not self._reader]

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
