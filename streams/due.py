"""
Attempts at due rows, beside the handler.

Rows of a table are due at a time. A worker claims them for a while, makes its attempts side by side, renews the claims meanwhile,
and writes ended attempts down together, many to a commit. The subclass decides for which rows there is room, what an attempt is
and what follows from it.
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

log = structlog.get_logger()

UNWRITABLE: Final = "outcome_unwritable"
_QUIET: Final = 2
"""Rounds in which nothing was done, after which a sender is at rest; in one of them the next due time was asked for."""
_AT_REST_MAX: Final = 15.0
"""Seconds between two looks at rest, or a claim where that is shorter: so a claim that another worker has made meanwhile, and
may leave behind, is known of before it ends. All else that becomes due is heard of, or known before."""
_LATE: Final = 0.001  # seconds after the next due time at which a round begins, so that the row is due by any clock
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


class Words(NamedTuple):
    """The names of a sender: of its loop in metrics, and of its log lines about outages."""

    loop: str
    postponed: str
    unsettled: str


class DueSender(ABC, Generic[Row, Ended]):
    """
    The attempts of one worker between `open` and `close`.

    It looks for due rows when the next one is due, when an attempt has ended, when it is woken (`hearing`), and every `poll`
    in any case; at rest it looks less often. Between two rounds are `spacing` seconds at least, so that attempts that end
    meanwhile are written down in one commit. `hold` keeps it from beginning.
    """

    def __init__(
        self,
        pool: Pool,
        words: Words,
        heartbeat: Heartbeat,
        *,
        lease: timedelta,
        poll: timedelta,
        spacing: float = 0.0,
        hold: Hold | None = None,
        context: Mapping[str, object] | None = None,
    ) -> None:
        self._pool = pool
        self._words = words
        self._poll = poll.total_seconds()
        self._claims = Claims(lease)
        self._asked_at, self._due_at = -math.inf, math.inf
        self._quiet = 0
        self._under_way: dict[asyncio.Task[Ended], Row] = {}
        self._ended: list[Ended] = []
        self._failures = Failures(words.loop, postponed=words.postponed, passing=passing_reason, longest_away=1.0)
        self.heartbeat = heartbeat
        self._service = Service(
            words.loop,
            self._turn,
            self._failures,
            hold=hold,
            grace=_LAST_ANSWERS,
            spacing=spacing,
            heartbeat=heartbeat,
            beat_every=self._claims.every.total_seconds(),
            context=lambda: context or {},
        )
        self.open, self.wake = self._service.open, self._service.wake

    @abstractmethod
    async def begin(self, connection: AsyncConnection) -> int:
        """Claim due rows for which there is room, on a connection in autocommit mode, and `start` them; returns how many."""

    @abstractmethod
    async def next_due(self, connection: AsyncConnection) -> float | None:
        """Return the seconds until the next row is due of those that are not due yet, or None where there is none."""

    @abstractmethod
    async def renew(self, connection: AsyncConnection, rows: Collection[Row]) -> Iterable[UUID]:
        """Extend the claims of these; returns the ids of those that no other worker has claimed meanwhile."""

    @abstractmethod
    def without_attempt(self, row: Row) -> Ended | None:
        """Decide about a row that is not to be attempted any more; returns None for one that is."""

    @abstractmethod
    async def attempt(self, row: Row, check: Callable[[], None]) -> Ended:
        """Make one attempt, and decide what follows from it. `check` raises ClaimOver where the row may be another worker's."""

    @abstractmethod
    def broken(self, row: Row, error: BaseException) -> Ended:
        """Decide what follows from an attempt that raised: that is our own fault, and only this row's."""

    @abstractmethod
    async def settle(self, ended: Sequence[Ended]) -> int:
        """Write ended attempts down; returns how many of them still were their row's. Raises only what may pass later."""

    async def close(self) -> None:
        """Stop; what does not end in time is cut off, and repeated by another worker under the same message id."""
        until = now() + _LAST_ANSWERS
        await self._service.close()
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=max(0.0, until - now()))
            for task in late:
                task.cancel()
                self._claims.drop(self._under_way.pop(task).id)
            await asyncio.gather(*late, return_exceptions=True)  # before what they use is closed
        self._gather()
        try:
            await self._settle()
        except Exception as error:  # noqa: BLE001  # each of them is repeated when its claim runs out
            reason = passing_reason(error) or "internal_error"
            log.warning(self._words.unsettled, reason=reason, number=len(self._ended), error=described(error))

    async def run_once(self) -> Done:
        """Write the attempts down that have ended, then begin due rows for which there is room."""
        self._gather()
        settled = await self._settle()
        async with self._pool.connection() as connection:
            if self._claims.due:
                asked_at = now()
                self._claims.renew(await self.renew(connection, [*self._under_way.values()]), asked_at)
            await self._look_ahead(connection)
            return Done(await self.begin(connection), settled)

    def start(self, rows: Collection[Row], claimed_at: float) -> None:
        """Begin an attempt at each of these; `claimed_at` is when their claim was sent, by `runtime.heartbeat.now`."""
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
        self._quiet = 0 if self._under_way or any(done) else self._quiet + 1
        at_rest = max(self._poll, min(self._claims.duration.total_seconds(), _AT_REST_MAX))
        return min(self._poll if self._quiet < _QUIET else at_rest, max(0.0, self._due_at - now()) + _LATE)

    async def _look_ahead(self, connection: AsyncConnection) -> None:
        """Ask for the next due time where the last one has come, and otherwise once in a `poll`."""
        moment = now()
        if moment >= min(self._due_at, self._asked_at + self._poll):
            seconds = await self.next_due(connection)
            self._asked_at, self._due_at = moment, math.inf if seconds is None else moment + seconds

    async def _attempt(self, row: Row) -> Ended:
        def check() -> None:
            self._claims.check(row.id)

        return await self.attempt(row, check)

    def _gather(self) -> None:
        for task in [task for task in self._under_way if task.done()]:
            row = self._under_way.pop(task)
            self._claims.drop(row.id)
            error = asyncio.CancelledError("cut off from within") if task.cancelled() else task.exception()
            self._ended.append(task.result() if error is None else self.broken(row, error))

    async def _settle(self) -> int:
        """Write all ended attempts down; while Postgres is away they are kept for the next round."""
        if not self._ended:
            return 0
        batch = self._ended[:]
        settled = await self.settle(batch)
        del self._ended[: len(batch)]
        return settled


def hearing(url: str, channel: str, *senders: DueSender[Any, Any]) -> Listener:
    """Return the service that wakes these senders when rows have become due by a commit that called `announce`."""

    def wake(_: str = "") -> None:
        for sender in senders:
            sender.wake()

    return Listener(url, channel, heard=wake, reconnected=wake)


async def announce(connection: AsyncConnection, channel: str) -> None:
    """Wake the senders of all workers when the transaction commits. It is a hint: they look every now and then anyway."""
    await connection.execute("select pg_notify(%s, '')", (channel,))


async def settle_apart(
    batch: Sequence[Ended],
    write: Callable[[Sequence[Ended]], Awaitable[int]],
    culprit: Callable[[Ended, Exception], Awaitable[int]],
) -> int:
    """
    Write the batch in one transaction if possible; a part that cannot be written is found and handed to `culprit`.

    Returns the sum of what `write` and `culprit` return. Raises only what may pass later: the batch may then be handed in again.
    """
    try:
        return await write(batch)
    except Exception as error:
        if passing_reason(error) is not None:
            raise
        if len(batch) == 1:
            return await culprit(batch[0], error)
    middle = len(batch) // 2
    return await settle_apart(batch[:middle], write, culprit) + await settle_apart(batch[middle:], write, culprit)
