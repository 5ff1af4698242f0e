"""A connection to Postgres that stands as long as its owner does: lost, it comes back by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

import psycopg
import structlog

from runtime.database import UNAVAILABLE
from runtime.failures import Failures
from runtime.sessions import DEFAULT_LEASE, connect_async

log = structlog.get_logger()

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


class ReconnectingConnection:
    """
    One in autocommit mode between `open` and `close`, shown to Postgres as `tallyhook <name>`.

    `use` has it for as long as it lasts, and returns or raises when it is lost; each loss is logged. Where the connection `holds`
    locks, `use` has to speak more often than the lease.
    """

    def __init__(
        self,
        url: str,
        name: str,
        use: Callable[[psycopg.AsyncConnection], Awaitable[None]],
        *,
        lease: timedelta = DEFAULT_LEASE,
        holds: bool = False,
    ) -> None:
        self._url = url
        self._name = name
        self._lease = lease
        self._holds = holds
        self._use = use
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
        pause, failures = _FIRST_PAUSE, Failures(self._name)
        while not self._closing:
            try:
                async with await self._connect() as connection:
                    pause = _FIRST_PAUSE
                    await self._use(connection)
            except UNAVAILABLE as error:
                log.warning("connection_lost", reason="postgres_unavailable", name=self._name, error=str(error).strip())
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except Exception as error:  # noqa: BLE001  # of `use`: nobody would hear or be shown any more, and nobody would know
                await asyncio.sleep(failures.note(error))
            else:
                failures.passed()
                await asyncio.sleep(pause)

    async def _connect(self) -> psycopg.AsyncConnection:
        return await connect_async(self._url, name=self._name, lease=self._lease, holds=self._holds, statement=self._lease)
