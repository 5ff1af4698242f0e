"""
Showing the others that this process is alive: an advisory lock under its number, held by a connection that comes back by itself.

The lock goes with the connection, and that with the process, so what a dead one had claimed is known to be free at once.
"""

import asyncio
import random
from contextlib import suppress
from typing import Final

import psycopg
import structlog

from runtime.database import UNAVAILABLE
from runtime.locks import Kind

log = structlog.get_logger()

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


class Presence:
    """One process between `open` and `close`; `shown` is its number while others can see it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.number = random.randrange(1, 2**31)  # noqa: S311  # a name, not a secret
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.shown: int | None = None

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
                    # Waits where Postgres has not noticed yet that our last connection is gone.
                    await connection.execute("select pg_advisory_lock(%s, %s)", (Kind.PRESENCE, self.number))
                    self.shown, pause = self.number, _FIRST_PAUSE
                    async for _ in connection.notifies():
                        pass  # nobody sends any: this returns when the connection is lost
            except UNAVAILABLE as error:
                log.warning("presence_lost", reason="postgres_unavailable", error=str(error).strip())
            finally:
                self.shown = None
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, application_name="tallyhook presence", connect_timeout=5
        )
