"""What every long-running process does alike: stop when asked, wait without polling."""

import select
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Protocol


def stop_signals() -> list[signal.Signals]:
    """Those that ask a process to stop, all in the same way; SIGHUP only where nobody had it ignored, as `nohup` does."""
    hang_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGINT, *hang_up]


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Stop:
    """A request to stop that a blocking wait can be woken by."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._asked = threading.Event()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        if not self._asked.is_set():
            self._asked.set()
            self._writer.send(b"!")

    def on_signals(self) -> None:
        """Let SIGTERM, SIGINT and SIGHUP ask; main thread only."""
        for number in stop_signals():
            signal.signal(number, lambda *_: self.ask())

    def wait(self, seconds: float, *readable: HasFileno) -> Sequence[HasFileno]:
        """Return at the request, after the time, or as soon as one of the others can be read; those that can."""
        if self.asked:
            return ()
        ready, _, _ = select.select([self._reader, *readable], [], [], max(0.0, seconds))
        return [item for item in ready if item is not self._reader]

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
