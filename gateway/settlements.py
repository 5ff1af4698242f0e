"""Hears of settled tasks: one LISTEN connection a gateway process, however many requests wait."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

import psycopg
import structlog

from outbox.tasks import SETTLED_CHANNEL
from runtime.database import UNAVAILABLE

log = structlog.get_logger()

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_LOOK_EVERY: Final = 1.0  # a hint can be lost with its connection: who waits looks this often anyway


class Settlements:
    """
    Wakes who waits for a task. A wake-up is a hint: who is woken reads the row.

    Who is expecting a task before he reads its row misses nothing: what was settled earlier he reads, what is settled later wakes
    him, and what fell into a gap of the connection he finds when it is back or when he looks again.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start listening, without waiting for Postgres."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        self._closing = True
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @contextmanager
    def expecting(self, task_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be news of the task; to be cleared by who waits for it."""
        event = asyncio.Event()
        self._waiting.setdefault(task_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[task_id].discard(event)
            if not self._waiting[task_id]:
                del self._waiting[task_id]

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        # A flag besides the cancellation: one that meets the time-out of a connect is lost (Python 3.11).
        while not self._closing:
            try:
                async with await self._connect() as connection:
                    pause = _FIRST_PAUSE
                    await self._listen(connection)
            except UNAVAILABLE as error:
                log.warning("settlements_unheard", reason="postgres_unavailable", error=str(error).strip())
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, application_name="tallyhook settlements", connect_timeout=5
        )

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        await connection.execute(f"listen {SETTLED_CHANNEL}")
        self._wake(*self._waiting)  # what was settled while nobody listened
        async for notify in connection.notifies():
            with suppress(ValueError):
                self._wake(UUID(notify.payload))

    def _wake(self, *task_ids: UUID) -> None:
        for task_id in task_ids:
            for event in self._waiting.get(task_id, ()):
                event.set()


async def woken(event: asyncio.Event, seconds: float) -> None:
    """Return at the next wake-up, or when it is time to look anyway."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), min(seconds, _LOOK_EVERY))
    event.clear()
