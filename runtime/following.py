"""Keeps an in-memory view of a table up to date: it is read at each hint, and twice a minute without one."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import psycopg

from runtime.database import UNAVAILABLE
from runtime.failures import Failures
from runtime.service import Service, connected, running
from runtime.sessions import readable

_RARELY: Final = 30.0
"""Seconds between two reads without a hint. The table itself gives one at each change (`outbox/hints.py`), and a new connection
reads at once, so this is only a safety net."""
_LONGEST_AWAY: Final = 1.5  # seconds between two attempts to connect; a change is to be seen within two


class Followed(ABC):
    """An in-memory view of a table. Its callbacks are called after each read, in the event loop of `following`."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], object]] = []
        self._hint: Callable[[], object] = lambda: None

    @abstractmethod
    async def refresh(self, connection: psycopg.AsyncConnection) -> None:
        """Read the table."""

    def on_read(self, callback: Callable[[], object]) -> None:
        """Call this after each read from now on, also after one that found no change."""
        self._callbacks.append(callback)

    def read_again(self) -> None:
        """Request a read of the table soon; any thread may call this."""
        self._hint()

    async def _follow(self, connection: psycopg.AsyncConnection, channel: str, looked: asyncio.Event) -> None:
        loop, hinted = asyncio.get_running_loop(), asyncio.Event()
        connection.add_notify_handler(lambda _: hinted.set())
        await connection.execute(f"listen {channel}".encode())
        self._hint = lambda: loop.call_soon_threadsafe(hinted.set)
        while True:
            hinted.clear()
            await self.refresh(connection)
            for callback in self._callbacks:
                callback()
            looked.set()
            await readable(connection, _RARELY, hinted)


@asynccontextmanager
async def following(database_url: str, channel: str, view: Followed, *, wait: bool = True) -> AsyncIterator[None]:
    """
    Have the view read its table at each notification of the channel, on the connection that listens.

    With `wait` the first read has succeeded or failed before the block begins. While Postgres is away the view stays as it was.
    """
    looked = asyncio.Event()
    look = connected(database_url, channel, lambda connection: view._follow(connection, channel, looked))  # noqa: SLF001  # its own

    async def turn() -> float:
        try:
            return await look()
        finally:
            looked.set()

    failures = Failures(channel, postponed=f"{channel}_kept", passing=_passing, longest_away=_LONGEST_AWAY)
    async with running(Service(channel, turn, failures)):
        if wait:
            await looked.wait()
        yield


def _passing(error: Exception) -> str | None:
    """Return the reason why a refresh may succeed later, as after any error of Postgres."""
    if isinstance(error, UNAVAILABLE):
        return "postgres_unavailable"
    return "postgres_refuses" if isinstance(error, psycopg.Error) else None
