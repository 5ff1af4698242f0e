"""Faust around the processor: the group, its partitions and the web are Faust's; batches go by it (`streams/transport.py`)."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import faust
import structlog
from mode import Service

from outbox.losses import Loss
from runtime.database import make_pool
from runtime.heartbeat import Heartbeat
from runtime.process import Stop, stop_signals
from runtime.schema import SchemaWatch
from streams.pages import add_pages
from streams.processor import Processor
from streams.reading import Most
from streams.records import Record
from streams.role import Role
from streams.settings import StreamSettings
from streams.transport import App, Batches

log = structlog.get_logger()

_EX_SOFTWARE: Final = 70
_PATIENCE: Final = 15.0  # seconds
_FETCH_SIZE: Final = 1024 * 1024  # bytes of each partition that aiokafka holds; a record that is larger is fetched alone


def run(role: Role, settings: StreamSettings, datadir: str, schema: SchemaWatch, stop: Stop) -> int:
    """Run a worker of the role until it is stopped by a signal; returns the exit code."""
    tools = _Tools(role, settings)
    app = build_app(role, settings, tools, datadir, schema)
    try:
        worker = _Worker(app, tools, loglevel=None, redirect_stdouts=False, quiet=True)
        worker.asked = stop
        worker.execute_from_commandline()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def build_app(role: Role, settings: StreamSettings, tools: "_Tools", datadir: str, schema: SchemaWatch) -> faust.App:
    """The Faust application of one worker; connects to nothing until its worker starts."""
    brokers = [f"aiokafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")]
    app = App(
        role.group,
        role.topics,
        Batches(
            role.name,
            Most(settings.batch, settings.streams_batch_bytes),
            tools.handle,
            tools.lost,
            tools.reassigned,
            _give_up,
        ),
        broker=brokers,
        store="memory://",
        datadir=datadir,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        broker_session_timeout=settings.streams_session_timeout.total_seconds(),
        broker_heartbeat_interval=settings.streams_session_timeout.total_seconds() / 5,
        broker_commit_interval=settings.streams_commit_interval.total_seconds(),
        consumer_max_fetch_size=_FETCH_SIZE,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
        web_host=settings.streams_web_host,
        web_bind=settings.streams_web_host,
        web_port=settings.streams_web_port,
        web_stats_enabled=False,
        web_router_enabled=False,
        web_tables_enabled=False,
        web_graph_enabled=False,
        web_metrics_enabled=False,
    )
    add_pages(app, role, settings, lambda: tools.heartbeats, schema)
    return app


class _Tools(Service):
    """What the role works with, open from before the first event until after the last."""

    def __init__(self, role: Role, settings: StreamSettings) -> None:
        super().__init__()
        self._role = role
        self._settings = settings
        self._exits = AsyncExitStack()
        self._made: Processor | None = None
        self._batches = Heartbeat("batches")
        self._beside: tuple[Heartbeat, ...] = ()

    @property
    def heartbeats(self) -> tuple[Heartbeat, ...]:
        """Those of the loops at work."""
        return (self._batches, *self._beside)

    @property
    def _processor(self) -> Processor:
        assert self._made is not None, "Faust starts the tools before the consumer"  # noqa: S101  # narrows the type
        return self._made

    def reassigned(self) -> None:
        self._processor.reassigned()

    async def handle(self, records: Sequence[Record]) -> None:
        self._batches.beat()
        await _or_die(self._processor.process(records))
        self._batches.rest()

    async def lost(self, losses: Sequence[Loss]) -> None:
        await _or_die(self._processor.report(losses))

    async def on_start(self) -> None:
        size, lease = self._settings.streams_lanes + 3, self._settings.lock_lease
        pool = make_pool(self._settings.database_url, size=size, name=f"worker {self._role.name}", lease=lease)
        await pool.open()  # without waiting: with Postgres away the processor waits, not the start
        self._exits.push_async_callback(pool.close)
        running = await self._exits.enter_async_context(self._role.opened(self._settings, pool))
        lanes, retry_max = self._settings.streams_lanes, self._settings.streams_retry_max
        self._made = Processor(running.handler, pool, lanes=lanes, retry_max=retry_max, waiting=self._batches.beat)
        self._beside = running.heartbeats
        for loop in running.loops:
            task = asyncio.ensure_future(_or_die(loop()))
            self._exits.push_async_callback(_cancel, task)

    async def on_stop(self) -> None:
        await self._exits.aclose()


class _Worker(faust.Worker):
    """
    Faust's worker without its own logging and its spinner, stopped by SIGHUP too, which may ignore a signal for so long only.

    `asked` is what took the signals until here.
    """

    asked: Stop

    def install_signal_handlers(self) -> None:
        super().install_signal_handlers()
        for number in stop_signals():
            self.loop.add_signal_handler(number, self._schedule_shutdown, number)
        if self.asked.asked:
            self._schedule_shutdown(signal.SIGTERM)

    def _setup_logging(self) -> None:
        """Leave logging as the process has set it up: lines of JSON and nothing else."""
        self.spinner = None

    def _schedule_shutdown(self, number: Any) -> None:
        self.asked.ask()
        _leave_within(_PATIENCE, 0)
        super()._schedule_shutdown(number)

    def _crash(self, reason: BaseException) -> None:
        _leave_within(_PATIENCE, _EX_SOFTWARE)
        super()._crash(reason)


def _leave_within(seconds: float, code: int) -> None:
    """
    Have the process end, with or without Faust, which cannot stop while a join is pending or Kafka is away.

    What is committed is durable, so nothing is lost.
    """
    limit = threading.Timer(seconds, _leave, (code,))
    limit.daemon = True
    limit.start()


def _leave(code: int) -> None:
    log.warning("left_without_faust", reason="shutdown_ignored")
    os._exit(code)


def _give_up() -> None:
    log.critical("worker_stuck", reason="worker_stuck")
    os._exit(_EX_SOFTWARE)


async def _cancel(task: "asyncio.Future[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _or_die(work: Awaitable[None]) -> None:
    """
    Await the work, and end the process where it fails, which it never should.

    Faust would start anew and go on behind what was not handled; after an exit Kafka hands it out again.
    """
    try:
        await work
    except Exception:
        log.critical("loop_failed", reason="loop_failed", exc_info=True)
        os._exit(_EX_SOFTWARE)
