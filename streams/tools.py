"""The tools of a worker's role: its pool, its handler, the loops beside it, and the processor of its agents' records."""

import asyncio
import os
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog
from mode import Service
from typing_extensions import override

from outbox.lost import Loss
from runtime.database import make_pool
from runtime.heartbeat import Heartbeat
from runtime.service import running as services_running
from streams.agents import BatchLimits, Work
from streams.processor import Processor
from streams.records import Record
from streams.role import Role
from streams.settings import StreamSettings

log = structlog.get_logger()

EX_SOFTWARE: Final = 70


class Tools(Service):
    """The role's pool, handler and loops, open from before the first event until after the last."""

    def __init__(self, role: Role, settings: StreamSettings) -> None:
        super().__init__()
        self._role = role
        self._settings = settings
        self._exits = AsyncExitStack()
        self._made: Processor | None = None
        self._batches = Heartbeat(f"{role.name} batches")
        self._loop_heartbeats: tuple[Heartbeat, ...] = ()

    @property
    def heartbeats(self) -> tuple[Heartbeat, ...]:
        """The heartbeats of the batches and of the loops beside them."""
        return (self._batches, *self._loop_heartbeats)

    @property
    def work(self) -> Work:
        """The work of the role's agents."""
        limits = BatchLimits(self._settings.batch, self._settings.streams_batch_bytes)
        return Work(self._role.name, limits, self._handle, self._report, self._reassigned, _give_up)

    @property
    def _processor(self) -> Processor:
        assert self._made is not None, "Faust starts the tools before the consumer"  # noqa: S101  # narrows the type
        return self._made

    async def _handle(self, records: Sequence[Record]) -> None:
        self._batches.beat()
        await _or_exit(self._processor.process(records))
        self._batches.rest()

    def _reassigned(self) -> None:
        self._processor.reassigned()

    async def _report(self, losses: Sequence[Loss]) -> None:
        await _or_exit(self._processor.report(losses))

    @override
    async def on_start(self) -> None:
        size, lease = self._settings.streams_lanes + 3, self._settings.lock_lease
        pool = make_pool(self._settings.database_url, size=size, name=f"worker {self._role.name}", lease=lease)
        await pool.open()  # without waiting: while Postgres is unavailable the processor waits, not the start
        self._exits.push_async_callback(pool.close)
        running = await self._exits.enter_async_context(self._role.opened(self._settings, pool))
        lanes, retry_max = self._settings.streams_lanes, self._settings.streams_retry_max
        self._made = Processor(
            running.handler,
            pool,
            lanes=lanes,
            lane_size=self._settings.lane_size,
            retry_max=retry_max,
            waiting=self._batches.beat,
        )
        self._loop_heartbeats = running.heartbeats
        await self._exits.enter_async_context(services_running(*running.services))

    @override
    async def on_stop(self) -> None:
        await self._exits.aclose()


def _give_up() -> None:
    log.critical("worker_stuck", reason="worker_stuck")
    os._exit(EX_SOFTWARE)


async def _or_exit(work: Awaitable[None]) -> None:
    """
    Await the work, and end the process if it raises anything, which it never should.

    Faust would start the agent again and go on after the records that were not handled; after an exit Kafka delivers them again.
    Only a cancellation of this task is raised: the worker stops.
    """
    try:
        await work
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
            raise
        log.critical("loop_failed", reason="loop_failed", exc_info=True)
        os._exit(EX_SOFTWARE)
