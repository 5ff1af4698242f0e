"""
Shows other processes that this one is alive, by an advisory lock under its number.

The lock ends with the connection, and the connection with the process, so others see at once that the claims of a dead process
are free. The server ends the connection of a process that is silent for the lease.
"""

import math
import random
from datetime import timedelta

import psycopg

from outbox.locks import Kind
from runtime.failures import Failures
from runtime.service import Service, connected
from runtime.sessions import DEFAULT_LEASE, wait


class Presence:
    """One process between `open` and `close`; `shown` is its number while others can see it."""

    def __init__(self, url: str, lease: timedelta = DEFAULT_LEASE) -> None:
        self.number = random.randrange(1, 2**31)  # noqa: S311  # a name, not a secret
        self.shown: int | None = None
        self._lease = lease
        failures = Failures("presence", postponed="connection_lost")
        show = connected(url, "presence", self._show, lease=lease, holds=True)
        service = Service("presence", show, failures, context=lambda: {"name": "presence"})
        self.open, self.close = service.open, service.close

    async def _show(self, connection: psycopg.AsyncConnection) -> None:
        try:
            # This waits if Postgres has not noticed yet that our last connection is gone.
            await connection.execute("select pg_advisory_lock(%s, %s)", (Kind.PRESENCE, self.number))
            self.shown = self.number
            await wait(connection, math.inf, self._lease)
        finally:
            self.shown = None
