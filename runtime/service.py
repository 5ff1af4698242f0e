"""
Background services: loops beside the main work of a process.

A service runs round after round until it is closed, whatever a round raises. Some rounds last as long as a connection to Postgres
of the service's own (`connected`), and some of those lead: they work only while they hold an advisory lock (`lead`).
"""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

from psycopg import AsyncConnection

from runtime.failures import Failures
from runtime.heartbeat import Heartbeat
from runtime.sessions import DEFAULT_LEASE, connect_async, wait

Hold = Callable[[], Awaitable[float]]
"""Returns the seconds that a service must still wait before its first round; 0 if it may begin."""
Round = Callable[[], Awaitable[float]]
"""One round of a service; returns the seconds until the next one, which `wake` cuts short."""
WHEN_WOKEN: Final = math.inf
"""Returned by a round: the next one is due when the service is woken."""
_AGAIN: Final = 0.2  # seconds, after a connection that ended without an error


class Pause(NamedTuple):
    """
    The seconds between two rounds; for `fixed` of them the service is not woken.

    After a failure the whole pause is kept, however often the service is woken.
    """

    seconds: float
    fixed: float


class Service:
    """
    One loop, between `open` and `close`.

    `failures` reports rounds that fail, with the fields that `context` returns. There are at least `spacing` seconds between two
    rounds, and none begins before `hold` allows it. A round that is under way at `close` has `grace` seconds to end before it is
    cancelled; with None it is awaited. `heartbeat` beats at each round.
    """

    def __init__(
        self,
        name: str,
        run_once: Round,
        failures: Failures | None = None,
        *,
        hold: Hold | None = None,
        grace: float | None = 0.0,
        spacing: float = 0.0,
        heartbeat: Heartbeat | None = None,
        beat_every: float = math.inf,
        context: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self.name = name
        self.heartbeat = heartbeat
        self._beat_every = beat_every
        self._run_once = run_once
        self._failures = failures or Failures(name)
        self._hold = hold
        self._grace = grace
        self._spacing = spacing
        self._context = context
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start, without waiting for anything."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name=self.name)

    async def close(self) -> None:
        """Ask the loop to end, and return when it has ended."""
        # A flag besides the cancellation, which is lost if it meets the time-out of a connect or of a pool (Python 3.11).
        self._closing.set()
        self._woken.set()
        if self._task is None:
            return
        await asyncio.wait({self._task}, timeout=self._grace)
        if not self._task.done():
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """End the pause between two rounds: there may be something to do."""
        self._woken.set()

    async def run(self) -> None:
        """Run round after round until `close` is called."""
        while not self._closing.is_set():
            self._woken.clear()
            pause = await self.turn()
            await _within(self._closing, pause.fixed)
            await self._wait(pause.seconds - pause.fixed)

    async def _wait(self, seconds: float) -> None:
        """Wait for the next round, and beat meanwhile: a loop that waits does not hang."""
        while seconds > self._beat_every and not self._woken.is_set():
            await _within(self._woken, self._beat_every)
            seconds -= self._beat_every
            if self.heartbeat:
                self.heartbeat.beat()
        await _within(self._woken, seconds)

    async def turn(self) -> Pause:
        """Run one round; returns the pause after it."""
        if self.heartbeat:
            self.heartbeat.beat()
        self._failures.begin()
        try:
            if self._hold and (held := await self._hold()):
                return Pause(held, held)
            self._hold = None
            pause = Pause(await self._run_once(), self._spacing)
        except (Exception, asyncio.CancelledError) as error:  # an unexpected error must not end the loop: nobody would notice
            if isinstance(error, asyncio.CancelledError):
                if self._is_cancelled():
                    raise
                error = RuntimeError("cancelled from within")
            seconds = self._failures.pause_after(error, **self._context())
            return Pause(seconds, seconds)
        self._failures.passed()
        return pause

    def _is_cancelled(self) -> bool:
        task = asyncio.current_task()
        return self._closing.is_set() or task is None or task.cancelling() > 0

    def run_in_thread(self) -> None:
        """Run in a daemon thread with its own event loop, for as long as the process lives."""
        threading.Thread(target=lambda: asyncio.run(self.run()), name=self.name, daemon=True).start()


class Opens(Protocol):
    """Anything that lives between `open` and `close`."""

    async def open(self) -> None: ...
    async def close(self) -> object: ...


@asynccontextmanager
async def running(*services: Opens) -> AsyncIterator[None]:
    """Open the services in this order, and close them in the opposite one when the block ends, also if one of them fails."""
    async with AsyncExitStack() as exits:
        for service in services:
            await service.open()
            exits.push_async_callback(service.close)
        yield


Use = Callable[[AsyncConnection], Awaitable[None]]


def connected(
    url: str,
    name: str,
    use: Use,
    *,
    lease: timedelta = DEFAULT_LEASE,
    holds: bool = False,
    statement: timedelta | None = None,
) -> Round:
    """
    Return a round that connects to Postgres as `tallyhook <name>`, in autocommit mode, and uses the connection until it is lost.

    If the connection `holds` locks, `use` must execute statements on it more often than the lease. A statement takes at most
    `statement`, by default the lease.
    """

    async def run_once() -> float:
        async with await connect_async(url, name=name, lease=lease, holds=holds, statement=statement or lease) as connection:
            await use(connection)
        return _AGAIN

    return run_once


async def lead(
    connection: AsyncConnection,
    lock: int,
    run_once: Callable[[AsyncConnection], Awaitable[float]],
    *,
    every: float,
    lease: timedelta,
    first: float = 0.0,
    woken: asyncio.Event | None = None,
) -> None:
    """
    Try to take the lock every `every` seconds; with it, run round after round until the connection is lost or a round fails.

    `run_once` returns the seconds until its next round, which begins at once when `woken` is set, as by a notification on this
    connection; the first one begins `first` seconds after the lock was taken. The lock ends with the connection.
    """
    woken = woken or asyncio.Event()
    while not await try_lock(connection, lock):
        await wait(connection, every, lease)
    await wait(connection, first, lease)
    while True:
        woken.clear()
        await wait(connection, await run_once(connection), lease, woken)


async def try_lock(connection: AsyncConnection, lock: int) -> bool:
    """Take the lock for the rest of the connection; False where another session has it."""
    row = await (await connection.execute("select pg_try_advisory_lock(%s)", (lock,))).fetchone()
    return bool(row and row[0])


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set or the time is over; always yield, so that a round without a wait does not block the loop."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            await event.wait()
