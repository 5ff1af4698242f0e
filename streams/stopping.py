"""The end of a worker's process, within a time limit: Faust cannot stop while a join is pending or Kafka is away."""

import os
import signal
import threading
from typing import Any, Final

import faust
import structlog
from typing_extensions import override

from runtime.process import Stop, stop_signals
from streams.tools import EX_SOFTWARE

log = structlog.get_logger()

_PATIENCE: Final = 15.0  # seconds


class Worker(faust.Worker):
    """Faust's worker, stopped by SIGHUP too, which may ignore a signal for so long only."""

    asked: Stop | None = None
    """The request to stop that took the signals until here."""

    @override
    def install_signal_handlers(self) -> None:
        super().install_signal_handlers()
        for number in stop_signals():
            self.loop.add_signal_handler(number, self._schedule_shutdown, number)
        if self.asked and self.asked.asked:
            self._schedule_shutdown(signal.SIGTERM)

    @override
    def _schedule_shutdown(self, signal: Any) -> None:
        if self.asked:
            self.asked.ask()
        _leave_within(_PATIENCE, 0)
        super()._schedule_shutdown(signal)

    @override
    def _crash(self, reason: BaseException) -> None:
        _leave_within(_PATIENCE, EX_SOFTWARE)
        super()._crash(reason)


class QuietWorker(Worker):
    """The same without Faust's own logging and its spinner: lines of JSON and nothing else, as the process has set them up."""

    @override
    def _setup_logging(self) -> None:
        self.spinner = None


def _leave_within(seconds: float, code: int) -> None:
    """End the process after the time, with or without Faust; committed work is durable, so nothing is lost."""
    limit = threading.Timer(seconds, _leave, (code,))
    limit.daemon = True
    limit.start()


def _leave(code: int) -> None:
    log.warning("left_without_faust", reason="shutdown_ignored")
    os._exit(code)
