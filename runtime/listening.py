"""Hearing Postgres' notifications: a connection that comes back by itself, and says when it may have missed something."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psycopg
import structlog

from runtime.database import UNAVAILABLE

log = structlog.get_logger()

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


class Listener:
    """
    Listens to one channel between `open` and `close`, on a connection of its own.

    `heard` gets each payload. `reconnected` is called whenever listening begins, for what was said before was not heard. Neither
    may block or raise.
    """

    def __init__(self, url: str, channel: str, *, heard: Callable[[str], None], reconnected: Callable[[], None]) -> None:
        self._url = url
        self._channel = channel
        self._heard = heard
        self._reconnected = reconnected
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start, without waiting for Postgres."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        # A flag besides the cancellation: one that meets the time-out of a connect is lost (Python 3.11).
        self._closing = True
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing:
            try:
                async with await self._connect() as connection:
                    pause = _FIRST_PAUSE
                    await self._listen(connection)
            except UNAVAILABLE as error:
                log.warning("listener_lost", reason="postgres_unavailable", channel=self._channel, error=str(error).strip())
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connect(self) -> psycopg.AsyncConnection:
        name = f"tallyhook listener {self._channel}"
        return await psycopg.AsyncConnection.connect(self._url, autocommit=True, application_name=name, connect_timeout=5)

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        await connection.execute(f"listen {self._channel}".encode())
        self._reconnected()
        async for notify in connection.notifies():
            self._heard(notify.payload)
