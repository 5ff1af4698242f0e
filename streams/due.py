"""
Attempts at due rows, beside the handler.

Each row has a time at which it is due. A worker claims due rows for a while, makes its attempts concurrently, renews the claims
meanwhile, and stores the results of ended attempts together, many in one commit. The subclass decides for which rows there is
room, what an attempt is and what follows from it.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from runtime.database import Pool
from runtime.excerpts import described
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat, now
from runtime.listening import Listener
from runtime.service import Hold, Service
from streams.claims import Claims
from streams.processor import passing_reason
from streams.retry_after import FAR

log = structlog.get_logger()

UNWRITABLE: Final = "outcome_unwritable"
_IDLE_ROUNDS: Final = 2
"""Rounds without work after which a sender is at rest; in one of them it has read the next due time."""
_AT_REST_MAX: Final = 15.0
"""The seconds of a pause at rest, unless a claim is shorter. So the sender reads of a claim that another worker has made
meanwhile before that claim ends. Of all other due rows it is notified, or it has read their time before."""
_LATE: Final = 0.001  # seconds after the next due time at which a round begins, so that the row is due by any clock
_RECALL_EVERY: Final = 60.0  # seconds
_MARGIN: Final = timedelta(hours=1)  # by which the clock may be set back in a pause
RECALLED_MAX: Final = 5000
"""The most rows that one statement makes due: one that took too long would fail again and again."""
_RECALLED: Final = timedelta(minutes=2)
"""The time after which a row is due whose own time cannot be right: longer than any claim, which its worker renews meanwhile."""
_LAST_ANSWERS: Final = 5.0  # seconds that a stopping worker waits for attempts under way


class Claimed(Protocol):
    """A row that this worker attempts."""

    @property
    def id(self) -> UUID: ...


Row = TypeVar("Row", bound=Claimed)
Ended = TypeVar("Ended")


class Done(NamedTuple):
    """The result of one round."""

    begun: int
    settled: int


class SenderNames(NamedTuple):
    """The names of a sender: of its loop in metrics, and of its log events about outages."""

    loop: str
    postponed: str
    unsettled: str


class DueSender(ABC, Generic[Row, Ended]):
    """
    The attempts of one worker between `open` and `close`.

    It looks for due rows when the next one is due, when an attempt has ended, when it is woken (`wake_listener`), and every
    `poll` in any case; at rest it looks less often. Two rounds are at least `spacing` seconds apart, so that the results of
    attempts that end meanwhile are stored in one commit. `longest` is the longest pause of a row. `hold` can keep it from
    starting.
    """

    def __init__(
        self,
        pool: Pool,
        names: SenderNames,
        heartbeat: Heartbeat,
        *,
        lease: timedelta,
        poll: timedelta,
        longest: timedelta,
        spacing: float = 0.0,
        hold: Hold | None = None,
        context: Mapping[str, object] | None = None,
    ) -> None:
        self._pool = pool
        self._names = names
        self._poll = poll.total_seconds()
        self._claims = Claims(lease)
        self._far = max(longest + _MARGIN, FAR)
        self._read_at, self._due_at, self._recall_at = -math.inf, math.inf, -math.inf
        self._idle_rounds = 0
        self._under_way: dict[asyncio.Task[Ended], Row] = {}
        self._ended: list[Ended] = []
        self._failures = Failures(names.loop, postponed=names.postponed, passing=passing_reason, longest_away=1.0)
        self.heartbeat = heartbeat
        self._service = Service(
            names.loop,
            self._turn,
            self._failures,
            hold=hold,
            grace=_LAST_ANSWERS,
            spacing=spacing,
            heartbeat=heartbeat,
            beat_every=self._claims.renew_every.total_seconds(),
            context=lambda: context or {},
        )
        self.open, self.wake = self._service.open, self._service.wake

    @abstractmethod
    async def begin(self, connection: AsyncConnection) -> int:
        """Claim due rows for which there is room, on a connection in autocommit mode, and `start` them; returns how many."""

    @abstractmethod
    async def next_due(self, connection: AsyncConnection) -> float | None:
        """Return the seconds until the next row is due of those that are not due yet, or None if there is none."""

    @abstractmethod
    async def renew(self, connection: AsyncConnection, rows: Collection[Row]) -> Iterable[UUID]:
        """Extend the claims on these rows; returns the ids of those that no other worker has claimed meanwhile."""

    @abstractmethod
    async def recall(self, connection: AsyncConnection, after: timedelta, within: timedelta) -> None:
        """
        Make rows due `within` this time that would be due later than `after`, RECALLED_MAX of them at most: no pause is as long.

        Such a time was stored while Postgres' clock was ahead.
        """

    @abstractmethod
    def without_attempt(self, row: Row) -> Ended | None:
        """Decide about a row that must not be attempted any more; returns None if it may be attempted."""

    @abstractmethod
    async def attempt(self, row: Row, check: Callable[[], None]) -> Ended:
        """Make one attempt, and decide what follows from it. `check` raises ClaimOver where the row may be another worker's."""

    @abstractmethod
    def after_error(self, row: Row, error: BaseException) -> Ended:
        """Decide what follows from an attempt that raised: the fault is ours, and affects only this row."""

    @abstractmethod
    async def settle(self, ended: Sequence[Ended]) -> int:
        """Store the results of ended attempts; returns how many still held their claim. Raises only errors that may pass."""

    async def close(self) -> None:
        """Stop. An attempt that does not end in time is cancelled, and another worker repeats it under the same message id."""
        until = now() + _LAST_ANSWERS
        await self._service.close()
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=max(0.0, until - now()))
            for task in late:
                task.cancel()
                self._claims.drop(self._under_way.pop(task).id)
            await asyncio.gather(*late, return_exceptions=True)  # before the clients that they use are closed
        self._gather()
        try:
            await self._settle()
        except Exception as error:  # noqa: BLE001  # each attempt is repeated when its claim runs out
            reason = passing_reason(error) or "internal_error"
            log.warning(self._names.unsettled, reason=reason, number=len(self._ended), error=described(error))

    async def run_once(self) -> Done:
        """Store the results of ended attempts, then start attempts at due rows for which there is room."""
        self._gather()
        settled = await self._settle()
        async with self._pool.connection() as connection:
            if self._claims.due:
                sent_at = now()
                self._claims.renew(await self.renew(connection, [*self._under_way.values()]), sent_at)
            await self._recall(connection)
            await self._read_next_due(connection)
            return Done(await self.begin(connection), settled)

    def start(self, rows: Collection[Row], claimed_at: float) -> None:
        """Start an attempt at each of these rows; `claimed_at` is when their claim was sent, by `runtime.heartbeat.now`."""
        self._claims.take([row.id for row in rows], claimed_at)
        for row in rows:
            if (ended := self.without_attempt(row)) is not None:
                self._claims.drop(row.id)
                self._ended.append(ended)
                self.wake()
                continue
            task = asyncio.create_task(self._attempt(row))
            self._under_way[task] = row
            task.add_done_callback(lambda _: self.wake())

    async def idle(self) -> None:
        """Return when nothing is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _turn(self) -> float:
        done = await self.run_once()
        self._idle_rounds = 0 if self._under_way or any(done) else self._idle_rounds + 1
        at_rest = max(self._poll, min(self._claims.duration.total_seconds(), _AT_REST_MAX))
        return min(self._poll if self._idle_rounds < _IDLE_ROUNDS else at_rest, max(0.0, self._due_at - now()) + _LATE)

    async def _recall(self, connection: AsyncConnection) -> None:
        if now() >= self._recall_at:
            self._recall_at = now() + _RECALL_EVERY
            await self.recall(connection, self._far, _RECALLED)

    async def _read_next_due(self, connection: AsyncConnection) -> None:
        """Read the next due time once the last one has come, and otherwise once in a `poll`."""
        moment = now()
        if moment >= min(self._due_at, self._read_at + self._poll):
            seconds = await self.next_due(connection)
            self._read_at, self._due_at = moment, math.inf if seconds is None else moment + seconds

    async def _attempt(self, row: Row) -> Ended:
        def check() -> None:
            self._claims.check(row.id)

        return await self.attempt(row, check)

    def _gather(self) -> None:
        for task in [task for task in self._under_way if task.done()]:
            row = self._under_way.pop(task)
            self._claims.drop(row.id)
            error = asyncio.CancelledError("the attempt cancelled itself") if task.cancelled() else task.exception()
            self._ended.append(task.result() if error is None else self.after_error(row, error))

    async def _settle(self) -> int:
        """Store the results of all ended attempts; while Postgres is unavailable they are kept for the next round."""
        if not self._ended:
            return 0
        batch = self._ended[:]
        settled = await self.settle(batch)
        del self._ended[: len(batch)]
        return settled


def wake_listener(url: str, channel: str, *senders: DueSender[Any, Any]) -> Listener:
    """Return the service that wakes these senders when a commit that called `announce` has made rows due."""

    def wake(_: str = "") -> None:
        for sender in senders:
            sender.wake()

    return Listener(url, channel, on_notify=wake, on_connect=wake)


async def announce(connection: AsyncConnection, channel: str) -> None:
    """Wake the senders of all workers when the transaction commits. It is only a hint: they also poll."""
    await connection.execute("select pg_notify(%s, '')", (channel,))


async def settle_in_parts(
    batch: Sequence[Ended],
    write: Callable[[Sequence[Ended]], Awaitable[int]],
    culprit: Callable[[Ended, Exception], Awaitable[int]],
) -> int:
    """
    Write the batch in one transaction if possible; a part that cannot be written is found and handed to `culprit`.

    Returns the sum of what `write` and `culprit` return. Raises only errors that may pass: then the batch may be tried again.
    """
    try:
        return await write(batch)
    except Exception as error:
        if passing_reason(error) is not None:
            raise
        if len(batch) == 1:
            return await culprit(batch[0], error)
    middle = len(batch) // 2
    return await settle_in_parts(batch[:middle], write, culprit) + await settle_in_parts(batch[middle:], write, culprit)
