"""
Showing the others that this process is alive: an advisory lock under its number.

The lock goes with the connection, and that with the process, so what a dead one had claimed is known to be free at once.
"""

import random

import psycopg

from runtime.locks import Kind
from runtime.reconnecting import ReconnectingConnection


class Presence:
    """One process between `open` and `close`; `shown` is its number while others can see it."""

    def __init__(self, url: str) -> None:
        self.number = random.randrange(1, 2**31)  # noqa: S311  # a name, not a secret
        self.shown: int | None = None
        self._connection = ReconnectingConnection(url, "presence", self._show)
        self.open = self._connection.open
        self.close = self._connection.close

    async def _show(self, connection: psycopg.AsyncConnection) -> None:
        try:
            # Waits where Postgres has not noticed yet that our last connection is gone.
            await connection.execute("select pg_advisory_lock(%s, %s)", (Kind.PRESENCE, self.number))
            self.shown = self.number
            async for _ in connection.notifies():
                pass  # nobody sends any: this returns when the connection is lost
        finally:
            self.shown = None
