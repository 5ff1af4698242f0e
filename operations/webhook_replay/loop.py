"""
The loop that works on replays, in one gateway at a time, in small batches, at the requested rate.

The leading gateway holds a lock on a connection and does all of the work on that connection. If it dies at any point, or does not
respond for the length of the lease, the last batch is committed completely or not at all, and another gateway continues.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

import prometheus_client
import structlog
from psycopg import AsyncConnection, DataError
from psycopg.errors import ProgramLimitExceeded

from operations.webhook_replay import settling
from operations.webhook_replay import store as work
from operations.webhook_replay.store import Job, Verdict
from operations.webhook_replay.verification import Judged, Sources, claim, judge
from outbox.locks import Lock
from runtime.database import UNAVAILABLE, Pool
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat
from runtime.service import Service, connected, try_lock
from runtime.sessions import DEFAULT_LEASE


class Pace:
    """Limits a rate per second over any time span, with at most `burst` at once; `now` is the time of a monotonic clock."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, min(float(burst), rate))
        self._room = 1.0
        self._at = now

    def room(self, now: float) -> int:
        """Return the number of items that may be sent at this moment."""
        self._room = min(self._burst, self._room + (now - self._at) * self._rate)
        self._at = now
        return int(self._room)

    def spend(self, number: int) -> None:
        """Count items as sent."""
        self._room -= number


log = structlog.get_logger()

ITEMS = prometheus_client.Counter(
    "tallyhook_replay_items_total", "Deliveries that replays have processed, by their new state.", ["state"]
)

BATCH: Final = 50
_TURN: Final = 0.05  # seconds between two turns of the leader
_SETTLE_EVERY: Final = 0.5
_SETTLE_BATCH: Final = 500
_LOOK_EVERY: Final = 1.0  # seconds between two checks for work if there was none, or if another gateway leads
_REFUSED: Final = (DataError, ProgramLimitExceeded, ValueError, OverflowError)  # errors that concern a value


class _Progress:
    """The state of a replay in the memory of the leader; it can be lost without harm."""

    def __init__(self, job: Job, now: float) -> None:
        self.pace = Pace(job.rate, BATCH, now)
        self.settled_to = 0
        self.settle_at = now


class Replays:
    """Works on every running replay in turn, until it is closed."""

    def __init__(
        self,
        url: str,
        pool: Pool,
        sources: Sources,
        *,
        lease: timedelta = DEFAULT_LEASE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self.sources = sources
        self._now = now
        self.heartbeat = Heartbeat("replays")
        self._closing = False
        self._lead = connected(url, "replays", self._work, lease=lease, holds=True)
        failures = Failures("replays", postponed="replays_postponed", failed="replays_failed")
        self._service = Service("replays", self._run_once, failures, grace=None, heartbeat=self.heartbeat)
        self.open, self.wake = self._service.open, self._service.wake

    async def close(self) -> None:
        """Finish the present batch; another gateway continues."""
        self._closing = True
        await self._service.close()

    async def _run_once(self) -> float:
        async with self._pool.connection() as connection:
            jobs = await work.running(connection)
        if jobs:
            await self._lead()
        return _LOOK_EVERY

    async def _work(self, connection: AsyncConnection) -> None:
        """Work on the running replays until there are none, unless another gateway does."""
        await connection.execute("set plan_cache_mode = force_custom_plan")
        if not await try_lock(connection, Lock.REPLAYS):
            return
        progress = dict[UUID, _Progress]()
        while not self._closing and (jobs := await work.running(connection)):
            self.heartbeat.beat()
            for job in jobs:
                if job.id not in progress:
                    progress[job.id] = _Progress(job, self._now())
                await self._turn(connection, job, progress[job.id])
            await asyncio.sleep(_TURN)

    async def _turn(self, connection: AsyncConnection, job: Job, progress: _Progress) -> None:
        try:
            if room := progress.pace.room(self._now()):
                progress.pace.spend(await self._take_up(connection, job, room))
            if self._now() >= progress.settle_at:
                progress.settle_at = self._now() + _SETTLE_EVERY
                await self._settle(connection, job, progress)
        except UNAVAILABLE:
            raise
        except Exception:  # an error in one replay must not block the others
            log.exception("replay_given_up", reason="internal_error", replay_id=str(job.id))
            await work.give_up(connection, job.id, "internal_error")

    async def _take_up(self, connection: AsyncConnection, job: Job, limit: int) -> int:
        deliveries = await work.waiting(connection, job.id, limit)
        if deliveries:
            await self._decide(connection, job, await judge(deliveries, self.sources))
        return len(deliveries)

    async def _decide(self, connection: AsyncConnection, job: Job, judged: Judged) -> None:
        """Commit a batch; if Postgres refuses a value of a recovered delivery, commit them one by one to find it."""
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
        """Write the rows of the outbox and the progress in one transaction."""
        async with connection.transaction():
            if not await work.lock_running(connection, job.id):
                return
            sent = await work.send(connection, job.id, judged.again)
            passed, stopped = await claim(connection, judged.recovered, self.sources)
            recorded = await work.recover(connection, job.id, passed)
            verdicts = [*judged.verdicts, *sent, *stopped, *recorded]
            await work.store_verdicts(connection, job.id, verdicts)
        for verdict in verdicts:
            ITEMS.labels(verdict.state).inc()

    async def _settle(self, connection: AsyncConnection, job: Job, progress: _Progress) -> None:
        async with connection.transaction():
            if not await work.lock_running(connection, job.id):
                return
            progress.settled_to = await settling.settle(connection, job.id, progress.settled_to, _SETTLE_BATCH)
            state = await settling.finish(connection, job.id)
        if state:
            log.info("replay_ended", replay_id=str(job.id), state=state)
