"""A write-behind buffer: rows that requests queue are written in small batches by a background service."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from runtime.database import Pool, make_pool, passing_reason
from runtime.failures import Failures
from runtime.service import WHEN_WOKEN, Service

log = structlog.get_logger()

Write = Callable[[Pool], Awaitable[None]]


class WriteBehind:
    """
    Calls `write` when it is woken, at most once in `every`, and once more at the end; never twice at a time.

    `write` keeps the rows that it could not write. While Postgres is unavailable, or the day has no partition, it is retried, and
    `{name}_postponed` is logged.
    """

    def __init__(self, url: str, write: Write, *, name: str, every: timedelta, waiting: Callable[[], int]) -> None:
        self._name = name
        self._write = write
        self._waiting = waiting
        self._pool = make_pool(url, size=1, name=name)
        self._writing = asyncio.Lock()
        self._failures = Failures(name, postponed=f"{name}_postponed")
        self._service = Service(
            name,
            self._run_once,
            self._failures,
            grace=None,
            spacing=every.total_seconds(),
            context=lambda: {"waiting": waiting()},
        )
        self.wake = self._service.wake
        """Called when there is something to write."""

    async def open(self) -> None:
        """Start, without waiting for Postgres."""
        await self._pool.open(wait=False)
        await self._service.open()

    async def close(self) -> bool:
        """Write what is left and disconnect; returns False if Postgres did not take it."""
        await self._service.close()
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001  # services that are closed after this one must be closed too
            if reason := passing_reason(error):
                event = f"{self._name}_lost"
                log.warning(event, reason=reason, waiting=self._waiting(), error=str(error).strip())
            else:
                self._failures.note(error)
            return False
        finally:
            await self._pool.close()
        return True

    async def flush(self) -> None:
        """Write what has been queued so far."""
        async with self._writing:
            await self._write(self._pool)

    async def _run_once(self) -> float:
        await self.flush()
        return WHEN_WOKEN
