"""
Records received webhooks, many in one commit.

Requests that arrive while a commit is under way share the next one, and each gets its own outcome. So one process acknowledges
more durable events a second than the database can commit transactions of one row.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from typing import Final

import structlog
from psycopg import AsyncConnection, DataError
from psycopg import Error as DatabaseError
from psycopg.errors import CheckViolation, ProgramLimitExceeded

from gateway import metrics
from gateway.errors import GatewayError, Reason
from gateway.webhooks.waiting import Waiting, WaitingList, fail
from outbox.append import UNDONE, Received, Recorded, record
from runtime import tracing
from runtime.database import is_missing_day
from runtime.heartbeat import Heartbeat
from runtime.ids import time_of
from runtime.sessions import CONNECT_TIMEOUT, check_writable_async, connect_async
from runtime.tracing import trace_id_of

log = structlog.get_logger()

COMMITS_IN_FLIGHT: Final = 2
_BATCH_BYTES: Final = 4 * 1024 * 1024  # of bodies in one statement, after which it takes no further row
_BACKOFF: Final = (0.1, 2.0)  # first and longest pause, in seconds, between two attempts to reach Postgres
_PLANS: Final = {"plan_cache_mode": "force_generic_plan"}  # a custom plan for every batch would cost more than the batch

# Errors of the database about a value. Errors of our own code or of the driver are handled alike: the other rows are valid.
_REFUSED: Final = (DataError, ProgramLimitExceeded)


class _Lane:
    """One of the commits in flight: `wakeup` is set while it has nothing to do, `usable` while its connection answers in time."""

    __slots__ = ("heartbeat", "task", "usable", "wakeup")

    def __init__(self) -> None:
        self.heartbeat = Heartbeat("intake")
        self.task: asyncio.Task[None] | None = None
        self.usable = False
        self.wakeup: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.wakeup is not None and not self.wakeup.done():
            self.wakeup.set_result(None)


class Intake:
    """
    Group commit over its own connections.

    It works between `open` and `close`, in one event loop. It opens without Postgres, refuses webhooks while Postgres is
    unavailable, and reconnects by itself.
    """

    def __init__(
        self,
        url: str,
        *,
        waiting_max: int = 2000,
        waiting_bytes: int = 67_108_864,
        batch_max: int = 200,
        limit: timedelta = timedelta(seconds=5),
    ) -> None:
        self._url = url
        self._batch_max = batch_max
        self._limit = limit.total_seconds()
        self._waiting = WaitingList(waiting_max, waiting_bytes)
        self._lanes = [_Lane() for _ in range(COMMITS_IN_FLIGHT)]
        self._idle: list[_Lane] = []
        self._usable = asyncio.Event()
        self._closing = asyncio.Event()

    @property
    def ready(self) -> bool:
        """True if a webhook would be accepted now."""
        return self._usable.is_set() and not self._closing.is_set()

    @property
    def heartbeats(self) -> list[Heartbeat]:
        """The heartbeats of the lanes; each beats at every commit that it begins."""
        return [lane.heartbeat for lane in self._lanes]

    async def until_ready(self) -> None:
        await self._usable.wait()

    async def open(self) -> None:
        """Start connecting; returns at once."""
        self._loop = asyncio.get_running_loop()
        metrics.INTAKE_WAITING.set_function(self._waiting.__len__)
        for lane in self._lanes:
            lane.task = self._loop.create_task(self._run(lane))

    async def close(self) -> None:
        """Accept no more webhooks, commit the waiting ones as far as Postgres allows, and disconnect."""
        self._closing.set()
        tasks = [lane.task for lane in self._lanes if lane.task]
        for lane in self._lanes:
            if not lane.usable and lane.task:
                lane.task.cancel()  # it is connecting, or hangs
            lane.wake()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=2 * self._limit)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._refuse_waiting(Reason.STOPPING, "the gateway stops")

    def record(self, received: Received) -> asyncio.Future[Recorded]:
        """
        Queue a webhook; the future has a result once it is committed.

        Raises GatewayError, at once or through the future. It is `postgres_unavailable`, `partition_missing`, `intake_full` or
        `stopping` while the webhook cannot be recorded (if it is committed after all, the next try is a duplicate), and
        `event_unstorable` where Postgres refuses a value of this event. A caller may stop waiting.
        """
        if not self.ready:
            raise self._unavailable()
        if self._waiting.full:
            raise GatewayError(Reason.INTAKE_FULL, "too many webhooks wait for their commit")
        outcome: asyncio.Future[Recorded] = self._loop.create_future()
        self._waiting.add(received, outcome)
        if self._idle:
            self._idle.pop().wake()
        return outcome

    def _unavailable(self) -> GatewayError:
        stops = GatewayError(Reason.STOPPING, "the gateway stops")
        return stops if self._closing.is_set() else GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres is unavailable")

    async def _run(self, lane: _Lane) -> None:
        """Serve the lane over one connection, and reconnect after each failure."""
        failures = 0
        while not self._closing.is_set():
            try:
                connection = await self._connect()
                failures = 0
                try:
                    self._set_usable(lane, usable=True)
                    await self._serve(lane, connection)
                finally:
                    self._set_usable(lane, usable=False)
                    await connection.close()
            except Exception as error:  # an unexpected error must not end the lane, which is half of the intake
                failures += 1
                metrics.INTAKE_RECONNECTS.inc()
                unexpected = not isinstance(error, DatabaseError | OSError)
                log.warning("intake_interrupted", reason="postgres_unavailable", error=str(error).strip(), exc_info=unexpected)
                await self._pause(failures)

    async def _connect(self) -> AsyncConnection:
        # The server limits a statement that waits, the kernel a peer that is gone, and `_overdue` all other waits.
        limit = timedelta(seconds=self._limit)
        async with asyncio.timeout(CONNECT_TIMEOUT + self._limit):
            return await connect_async(self._url, name="intake", lease=limit, statement=limit, settings=_PLANS, writable=True)

    async def _pause(self, failures: int) -> None:
        first, longest = _BACKOFF
        pause = min(longest, first * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, no secret
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), pause)

    async def _serve(self, lane: _Lane, connection: AsyncConnection) -> None:
        while True:
            batch = self._waiting.take(self._batch_max, _BATCH_BYTES)
            if batch:
                await self._commit(lane, connection, batch)
            elif self._closing.is_set():
                return
            else:
                await self._wait_for_work(lane, connection)

    async def _wait_for_work(self, lane: _Lane, connection: AsyncConnection) -> None:
        """Wait for work or for data on the socket; after the limit, test the connection: a frozen server sends nothing."""
        lane.wakeup = self._loop.create_future()
        self._idle.append(lane)
        self._loop.add_reader(socket := connection.fileno(), lane.wake)
        timer = self._loop.call_later(self._limit, lane.wake)
        try:
            await lane.wakeup
        finally:
            timer.cancel()
            self._loop.remove_reader(socket)
            if lane in self._idle:
                self._idle.remove(lane)
        if self._waiting or self._closing.is_set():
            return
        connection.pgconn.consume_input()
        if self._loop.time() >= timer.when():
            with self._bounded(lane, []):
                await check_writable_async(connection)

    @contextmanager
    def _bounded(self, lane: _Lane, batch: list[Waiting]) -> Iterator[None]:
        """Wait for Postgres; after the limit the lane is unusable until Postgres has answered, which may never happen."""
        lane.heartbeat.beat()
        alarm = self._loop.call_later(self._limit + 1.0, self._overdue, lane, batch)
        try:
            yield
        finally:
            alarm.cancel()
            lane.heartbeat.rest()
        if not lane.usable:
            self._set_usable(lane, usable=True)

    async def _commit(self, lane: _Lane, connection: AsyncConnection, batch: list[Waiting]) -> None:
        started, began = self._loop.time(), tracing.now()
        with self._bounded(lane, batch):
            try:
                await self._write(connection, batch)
            except BaseException as error:
                # It is not known whether it is committed. If it is, the provider's next try is a duplicate.
                fail(batch, Reason.POSTGRES_UNAVAILABLE, f"the commit failed: {type(error).__name__}")
                raise
        metrics.INTAKE_BATCH_EVENTS.observe(len(batch))
        metrics.INTAKE_COMMIT_SECONDS.observe(self._loop.time() - started)
        if began:
            parents = [each.received.event.traceparent for each in batch]
            tracing.record_batch("commit", began, parents, tallyhook__events=len(batch))
        metrics.INTAKE_LATENESS.observe(max(0.0, time.time() - time_of(batch[0].received.event.id).timestamp()))

    async def _write(self, connection: AsyncConnection, batch: list[Waiting]) -> None:
        try:
            outcomes = await record(connection, [waiting.received for waiting in batch])
        except CheckViolation as error:
            if not is_missing_day(error):
                raise
            await self._write_days(connection, batch)
        except UNDONE:  # the same rows go again
            self._waiting.put_back(batch)
        except Exception as error:
            if isinstance(error, DatabaseError | OSError) and not isinstance(error, _REFUSED):
                raise
            await self._write_halves(connection, batch, error)
        else:
            self._hand_out(batch, outcomes)

    async def _write_days(self, connection: AsyncConnection, batch: list[Waiting]) -> None:
        """Write the events of each day that has a partition; at midnight, or after a clock change, there may be several."""
        days: dict[date, list[Waiting]] = {}
        for waiting in batch:
            days.setdefault(time_of(waiting.received.event.id).date(), []).append(waiting)
        if len(days) > 1:
            for waiting_of_day in days.values():
                await self._write(connection, waiting_of_day)
            return
        [day] = days
        log.warning("intake_without_day", reason="partition_missing", day=str(day), events=len(batch))
        fail(batch, Reason.PARTITION_MISSING, "the day has no partition yet")

    async def _write_halves(self, connection: AsyncConnection, batch: list[Waiting], error: Exception) -> None:
        """Write each half, down to the row that was refused, so that only its own request fails."""
        if len(batch) == 1:
            received = batch[0].received
            context = {"source": received.source, "trace_id": trace_id_of(received.event.traceparent)}
            log.warning("event_unstorable", reason="event_unstorable", error=str(error).strip(), **context)
            batch[0].fail(GatewayError(Reason.EVENT_UNSTORABLE, "Postgres refuses a value of this event"))
            return
        middle = len(batch) // 2
        await self._write(connection, batch[:middle])
        await self._write(connection, batch[middle:])

    def _hand_out(self, batch: list[Waiting], outcomes: list[Recorded | None]) -> None:
        for waiting, recorded in zip(batch, outcomes, strict=True):
            if recorded is not None:
                waiting.settle(recorded)
        self._waiting.put_back([waiting for waiting in batch if not waiting.outcome.done()])

    def _overdue(self, lane: _Lane, batch: list[Waiting]) -> None:
        """Refuse the batch, since Postgres hangs, and leave the lane unused until it answers. A restart would not help."""
        lane.heartbeat.rest()
        log.warning("intake_overdue", reason="postgres_unavailable", events=len(batch))
        fail(batch, Reason.POSTGRES_UNAVAILABLE, "Postgres does not answer")
        self._set_usable(lane, usable=False)

    def _set_usable(self, lane: _Lane, *, usable: bool) -> None:
        lane.usable = usable
        if any(each.usable for each in self._lanes):
            self._usable.set()
        else:
            self._usable.clear()
            self._refuse_waiting(Reason.POSTGRES_UNAVAILABLE, "Postgres is unavailable")

    def _refuse_waiting(self, reason: Reason, detail: str) -> None:
        self._waiting.fail_all(reason, detail)
