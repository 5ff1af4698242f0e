"""
The applications of a worker's process side by side, and its end.

The end has a time limit: Faust cannot stop while a join is pending or Kafka does not answer.
"""

import asyncio
import signal
from collections.abc import Iterable
from typing import Any, Final

import faust
from mode import Service
from mode.types import ServiceT
from typing_extensions import override

from runtime.process import Stop, leave_within, stop_signals
from streams.tools import EX_SOFTWARE

_PATIENCE: Final = 15.0  # seconds


class Worker(faust.Worker):
    """Faust's worker, which SIGHUP stops too, and which exits at the latest `_PATIENCE` after a signal."""

    stop_request: Stop | None = None
    """The object that received the signals until this worker handles them."""

    @override
    def on_init_dependencies(self) -> Iterable[ServiceT]:
        return [_Concurrent([*super().on_init_dependencies()])]

    @override
    def install_signal_handlers(self) -> None:
        super().install_signal_handlers()
        for number in stop_signals():
            self.loop.add_signal_handler(number, self._schedule_shutdown, number)
        if self.stop_request and self.stop_request.requested:
            self._schedule_shutdown(signal.SIGTERM)

    @override
    def _schedule_shutdown(self, signal: Any) -> None:
        if self.stop_request:
            self.stop_request.request()
        leave_within(_PATIENCE)
        super()._schedule_shutdown(signal)

    @override
    def _crash(self, reason: BaseException) -> None:
        leave_within(_PATIENCE, EX_SOFTWARE)
        super()._crash(reason)


class QuietWorker(Worker):
    """A worker without Faust's own logging and spinner: it writes only lines of JSON, as the process has configured them."""

    @override
    def _setup_logging(self) -> None:
        self.spinner = None


class _Concurrent(Service):
    """
    Starts and stops services at the same time.

    An application has started when it has its first partitions, and stopped when its batch is done. None has to wait for
    another.
    """

    def __init__(self, services: Iterable[ServiceT]) -> None:
        super().__init__()
        self._services = [*services]

    @override
    async def on_start(self) -> None:
        for service in self._services:
            self.add_future(service.maybe_start())

    @override
    async def on_stop(self) -> None:
        ended = await asyncio.gather(*(service.stop() for service in self._services), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error
