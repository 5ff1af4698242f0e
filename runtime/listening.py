"""Hearing Postgres' notifications, and knowing when some may have been missed."""

from collections.abc import Callable

import psycopg

from runtime.reconnecting import ReconnectingConnection


class Listener:
    """
    Listens to one channel between `open` and `close`, on a connection of its own.

    `heard` gets each payload. `reconnected` is called whenever listening begins, for what was said before was not heard. Neither
    may block or raise.
    """

    def __init__(self, url: str, channel: str, *, heard: Callable[[str], None], reconnected: Callable[[], None]) -> None:
        self._channel = channel
        self._heard = heard
        self._reconnected = reconnected
        self._connection = ReconnectingConnection(url, f"listener {channel}", self._listen)
        self.open = self._connection.open
        self.close = self._connection.close

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        await connection.execute(f"listen {self._channel}".encode())
        self._reconnected()
        async for notify in connection.notifies():
            self._heard(notify.payload)
