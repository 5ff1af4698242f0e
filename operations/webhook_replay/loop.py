"""
The loop that works on replays, one gateway at a time, in small batches, at the rate that was asked for.

Whoever leads holds a lock on its own connection and does everything on that connection. When it dies, at whatever point, or is
silent for the lease, the last batch is whole or was never there, and another gateway goes on.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final
from uuid import UUID

import prometheus_client
import structlog
from psycopg import AsyncConnection, DataError
from psycopg.errors import ProgramLimitExceeded

from operations.webhook_replay import settling
from operations.webhook_replay import store as work
from operations.webhook_replay.pacing import Pace
from operations.webhook_replay.store import Job, Verdict
from operations.webhook_replay.verification import Judged, Sources, claim, judge
from runtime.database import UNAVAILABLE, Pool
from runtime.heartbeat import Heartbeat
from runtime.sessions import DEFAULT_LEASE, connect_async

log = structlog.get_logger()

ITEMS = prometheus_client.Counter(
    "tallyhook_replay_items_total", "Deliveries that a replay has taken up, by their new state.", ["state"]
)

BATCH: Final = 50
_TURN: Final = 0.05  # seconds between two turns of the one that leads
_SETTLE_EVERY: Final = 0.5
_SETTLE_BATCH: Final = 500
_LOOK_EVERY: Final = 1.0  # seconds between two looks for work, where there was none or another one leads
_AFTER_FAILURE: Final = 10.0
_REFUSED: Final = (DataError, ProgramLimitExceeded, ValueError, OverflowError)  # what says something about a value


class _Desk:
    """The state of a replay in memory while this gateway leads it; losing it loses nothing."""

    def __init__(self, job: Job, now: float) -> None:
        self.pace = Pace(job.rate, BATCH, now)
        self.settled_to = 0
        self.settle_at = now


Desks = dict[UUID, _Desk]


class Replays:
    """Works on every replay that is running, in turns, until it is closed."""

    def __init__(
        self,
        url: str,
        pool: Pool,
        sources: Sources,
        *,
        lease: timedelta = DEFAULT_LEASE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._lease = lease
        self._pool = pool
        self.sources = sources
        self._now = now
        self.heartbeat = Heartbeat("replays")
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start looking for work, without waiting for Postgres."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Finish the batch under way; another gateway goes on."""
        # Asked, not cancelled: a cancellation that meets the pool's own time-out is lost (Python 3.11).
        self._closing = True
        self._wake.set()
        if self._task:
            await self._task

    def wake(self) -> None:
        """There may be work."""
        self._wake.set()

    async def _run(self) -> None:
        while not self._closing:
            self._wake.clear()
            self.heartbeat.beat()
            pause = _LOOK_EVERY
            try:
                if await self._is_work():
                    await self._lead()
            except UNAVAILABLE as error:
                log.warning("replays_postponed", reason="postgres_unavailable", error=str(error).strip())
            except Exception:  # a loop that dies of a surprise would leave every replay standing
                log.exception("replays_failed", reason="internal_error")
                pause = _AFTER_FAILURE
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), 0 if self._closing else seconds)

    async def _is_work(self) -> bool:
        async with self._pool.connection() as connection:
            return bool(await work.running(connection))

    async def _lead(self) -> None:
        """Work on the running replays until none is left, unless another gateway does."""
        connection = await self._connect()
        try:
            await connection.execute("set plan_cache_mode = force_custom_plan")
            if not await work.lead(connection):
                return
            desks: Desks = {}
            while not self._closing and (jobs := await work.running(connection)):
                self.heartbeat.beat()
                for job in jobs:
                    if job.id not in desks:
                        desks[job.id] = _Desk(job, self._now())
                    await self._turn(connection, job, desks[job.id])
                await asyncio.sleep(_TURN)
        finally:
            await connection.close()

    async def _connect(self) -> AsyncConnection:
        return await connect_async(self._url, name="replays", lease=self._lease, holds=True, statement=self._lease)

    async def _turn(self, connection: AsyncConnection, job: Job, desk: _Desk) -> None:
        try:
            if room := desk.pace.room(self._now()):
                desk.pace.spend(await self._take_up(connection, job, room))
            if self._now() >= desk.settle_at:
                desk.settle_at = self._now() + _SETTLE_EVERY
                await self._settle(connection, job, desk)
        except UNAVAILABLE:
            raise
        except Exception:  # one replay that our code cannot go on with must not hold up the others
            log.exception("replay_given_up", reason="internal_error", replay_id=str(job.id))
            await work.give_up(connection, job.id, "internal_error")

    async def _take_up(self, connection: AsyncConnection, job: Job, limit: int) -> int:
        deliveries = await work.waiting(connection, job.id, limit)
        if deliveries:
            await self._decide(connection, job, await judge(deliveries, self.sources))
        return len(deliveries)

    async def _decide(self, connection: AsyncConnection, job: Job, judged: Judged) -> None:
        """Commit a batch; where Postgres refuses a value of what was recovered, one by one, to find whose it is."""
        try:
            await self._commit(connection, job, judged)
        except _REFUSED as error:
            if not judged.recovered:
                raise
            if len(judged.recovered) == 1 and not judged.again and not judged.verdicts:
                log.warning("event_unstorable", reason="event_unstorable", replay_id=str(job.id), error=str(error).strip())
                failed = Verdict(judged.recovered[0][0].n, "failed", "event_unstorable")
                await self._commit(connection, job, Judged([], [], [failed]))
                return
            await self._commit(connection, job, judged._replace(recovered=[]))
            for recovery in judged.recovered:
                await self._decide(connection, job, Judged([], [recovery], []))

    async def _commit(self, connection: AsyncConnection, job: Job, judged: Judged) -> None:
        """Rows of the outbox and progress, together or not at all."""
        async with connection.transaction():
            if not await work.hold(connection, job.id):
                return
            sent = await work.send(connection, job.id, judged.again)
            passed, stopped = await claim(connection, judged.recovered, self.sources)
            recorded = await work.recover(connection, job.id, passed)
            verdicts = [*judged.verdicts, *sent, *stopped, *recorded]
            await work.note(connection, job.id, verdicts)
        for verdict in verdicts:
            ITEMS.labels(verdict.state).inc()

    async def _settle(self, connection: AsyncConnection, job: Job, desk: _Desk) -> None:
        async with connection.transaction():
            if not await work.hold(connection, job.id):
                return
            desk.settled_to = await settling.settle(connection, job.id, desk.settled_to, _SETTLE_BATCH)
            state = await settling.finish(connection, job.id)
        if state:
            log.info("replay_ended", replay_id=str(job.id), state=state)
