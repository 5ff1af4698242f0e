"""Writing beside the work: what was offered is written in small batches, and costs no request anything."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import structlog

from runtime.database import Pool, make_pool, passing_reason
from runtime.failures import Failures

log = structlog.get_logger()

Write = Callable[[Pool], Awaitable[None]]


class Behind:
    """
    Calls `write` when it is woken, at most once in a while, and once more at the end; never twice at a time.

    `write` keeps what it could not write. With Postgres away, or without the day, it is called again and again, and says so as
    `{name}_postponed`.
    """

    def __init__(self, url: str, write: Write, *, name: str, every: timedelta, waiting: Callable[[], int]) -> None:
        self._name = name
        self._write = write
        self._every = every.total_seconds()
        self._waiting = waiting
        self._pool = make_pool(url, size=1, name=name)
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = Failures(name)

    async def open(self) -> None:
        """Start, without waiting for Postgres."""
        await self._pool.open(wait=False)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> bool:
        """Write what is left and disconnect; False where Postgres did not take it."""
        # Asked, not cancelled: a cancellation that meets the pool's own time-out is lost (Python 3.11), and the task would go on.
        self._closing.set()
        self._wake.set()
        if self._task:
            await self._task
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001  # whoever closes others after this one must come to them
            if reason := passing_reason(error):
                self._say("lost", reason, error)
            else:
                self._failures.note(error)
            return False
        finally:
            await self._pool.close()
        return True

    def wake(self) -> None:
        """There is something to write."""
        self._wake.set()

    async def flush(self) -> None:
        """Write what has been offered so far."""
        async with self._writing:
            await self._write(self._pool)

    async def _run(self) -> None:
        while not self._closing.is_set():
            await self._wake.wait()
            self._wake.clear()
            pause = self._every
            try:
                await self.flush()
                self._failures.passed()
            except Exception as error:  # noqa: BLE001  # a loop that dies of a surprise would write nothing any more
                self._wake.set()  # what is left is written when it passes, whether or not anything more is offered
                if reason := passing_reason(error):
                    self._say("postponed", reason, error)
                else:
                    pause = max(pause, self._failures.note(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause)

    def _say(self, what: str, reason: str, error: Exception) -> None:
        event = f"{self._name}_{what}"
        log.warning(event, reason=reason, waiting=self._waiting(), error=str(error).strip())
