"""Keeping a view of a table in memory up to date: read at each hint, and now and then without one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import psycopg

from runtime.database import UNAVAILABLE, make_pool
from runtime.failures import Failures
from runtime.listening import Listener
from runtime.service import Service, running

POLL: Final = 1.0  # seconds; a hint may be lost, and followers are to know within two


@asynccontextmanager
async def following(
    database_url: str, channel: str, refresh: Callable[[psycopg.AsyncConnection], Awaitable[None]], *, wait: bool = True
) -> AsyncIterator[None]:
    """
    Call `refresh` with a connection at each notification of the channel, and each second.

    With `wait` it is called before this returns, where Postgres lets it. While Postgres is away the view keeps what it had.
    """
    pool = make_pool(database_url, size=1, name=channel)

    async def turn() -> float:
        async with pool.connection() as connection:
            await refresh(connection)
        return POLL

    failures = Failures(channel, postponed=f"{channel}_kept", passing=_passing, longest_away=POLL)
    service = Service(channel, turn, failures, grace=None)
    listener = Listener(database_url, channel, heard=lambda _: service.wake(), reconnected=service.wake)
    await pool.open(wait=False)
    try:
        if wait:
            await service.turn()
        async with running(listener, service):
            yield
    finally:
        await pool.close()


def _passing(error: Exception) -> str | None:
    """Return why a refresh may pass later: a day without a partition takes no alert, and is no reason to stop either."""
    if isinstance(error, UNAVAILABLE):
        return "postgres_unavailable"
    return "postgres_refuses" if isinstance(error, psycopg.Error) else None
