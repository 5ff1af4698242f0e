"""Keeping a view of a table in memory up to date: read at each hint, and now and then without one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import psycopg

from runtime.database import UNAVAILABLE
from runtime.failures import Failures
from runtime.service import Service, connected, running
from runtime.sessions import readable

POLL: Final = 1.5  # seconds; SQL gives no hint, and followers are to know within two


@asynccontextmanager
async def following(
    database_url: str, channel: str, refresh: Callable[[psycopg.AsyncConnection], Awaitable[None]], *, wait: bool = True
) -> AsyncIterator[None]:
    """
    Call `refresh` at each notification of the channel, and every `POLL`, with the connection that listens.

    With `wait` it is called before this returns, where Postgres lets it. While Postgres is away the view keeps what it had.
    """
    looked, hinted = asyncio.Event(), asyncio.Event()

    async def follow(connection: psycopg.AsyncConnection) -> None:
        connection.add_notify_handler(lambda _: hinted.set())
        await connection.execute(f"listen {channel}".encode())
        while True:
            hinted.clear()
            await refresh(connection)
            looked.set()
            if not hinted.is_set():  # by what came while it was read
                await readable(connection, POLL)

    look = connected(database_url, channel, follow)

    async def turn() -> float:
        try:
            return await look()
        finally:
            looked.set()

    failures = Failures(channel, postponed=f"{channel}_kept", passing=_passing, longest_away=POLL)
    async with running(Service(channel, turn, failures)):
        if wait:
            await looked.wait()
        yield


def _passing(error: Exception) -> str | None:
    """Return why a refresh may pass later: a day without a partition takes no alert, and is no reason to stop either."""
    if isinstance(error, UNAVAILABLE):
        return "postgres_unavailable"
    return "postgres_refuses" if isinstance(error, psycopg.Error) else None
