"""
Showing the others that this process is alive: an advisory lock under its number.

The lock goes with the connection, and that with the process, so what a dead one had claimed is known to be free at once. The
server ends the connection of one that does not speak for the lease.
"""

import random
from datetime import timedelta

import psycopg

from runtime.locks import Kind
from runtime.reconnecting import ReconnectingConnection
from runtime.sessions import DEFAULT_LEASE, SPOKEN


class Presence:
    """One process between `open` and `close`; `shown` is its number while others can see it."""

    def __init__(self, url: str, lease: timedelta = DEFAULT_LEASE) -> None:
        self.number = random.randrange(1, 2**31)  # noqa: S311  # a name, not a secret
        self.shown: int | None = None
        self._lease = lease
        self._connection = ReconnectingConnection(url, "presence", self._show, lease=lease, holds=True)
        self.open = self._connection.open
        self.close = self._connection.close

    async def _show(self, connection: psycopg.AsyncConnection) -> None:
        try:
            # Waits where Postgres has not noticed yet that our last connection is gone.
            await connection.execute("select pg_advisory_lock(%s, %s)", (Kind.PRESENCE, self.number))
            self.shown = self.number
            while True:
                async for _ in connection.notifies(timeout=self._lease.total_seconds() / SPOKEN):
                    pass  # nobody sends any; this raises at once when the connection is lost
                await connection.execute("select 1")
        finally:
            self.shown = None
