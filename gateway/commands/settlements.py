"""Notifies waiting requests of settled tasks, over one LISTEN connection a gateway process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

from outbox.tasks import SETTLED_CHANNEL
from runtime.listening import Listener

_READ_EVERY: Final = 1.0  # seconds between two reads of the row: a notification can be lost with its connection


class Settlements:
    """
    Wakes the requests that wait for a task. A wake-up is only a hint: the request then reads the row.

    A caller that enters `expecting` before it reads the row misses nothing. An earlier settlement is in the row, a later one
    wakes the caller, and one during a loss of the connection is found after the reconnection, or at the next read.
    """

    def __init__(self, url: str) -> None:
        self._listener = Listener(url, SETTLED_CHANNEL, on_notify=self._on_notify, on_connect=self._wake_all)
        self._waiting: dict[UUID, set[asyncio.Event]] = {}

    async def open(self) -> None:
        """Start listening, without waiting for Postgres."""
        await self._listener.open()

    async def close(self) -> None:
        await self._listener.close()

    @contextmanager
    def expecting(self, task_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever the task may have changed; `wait_for_wakeup` clears it."""
        event = asyncio.Event()
        self._waiting.setdefault(task_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[task_id].discard(event)
            if not self._waiting[task_id]:
                del self._waiting[task_id]

    def _on_notify(self, payload: str) -> None:
        with suppress(ValueError):
            self._wake(UUID(payload))

    def _wake_all(self) -> None:
        self._wake(*self._waiting)

    def _wake(self, *task_ids: UUID) -> None:
        for task_id in task_ids:
            for event in self._waiting.get(task_id, ()):
                event.set()


async def wait_for_wakeup(event: asyncio.Event, seconds: float) -> None:
    """Return at the next wake-up, or when it is time to read the row anyway."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), min(seconds, _READ_EVERY))
    event.clear()
