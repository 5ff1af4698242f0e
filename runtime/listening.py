"""Listens to notifications of Postgres, and reports when some may have been missed."""

from collections.abc import Callable

import psycopg

from runtime.failures import Failures
from runtime.service import Service, connected
from runtime.sessions import readable


class Listener:
    """
    Listens to one channel between `open` and `close`, on its own connection, which is opened again when it is lost.

    `on_notify` gets each payload. `on_connect` is called whenever listening begins, since earlier notifications are lost. Neither
    may block or raise.
    """

    def __init__(self, url: str, channel: str, *, on_notify: Callable[[str], None], on_connect: Callable[[], None]) -> None:
        self._channel = channel
        self._on_notify = on_notify
        self._on_connect = on_connect
        name = f"listener {channel}"
        failures = Failures(name, postponed="connection_lost")
        service = Service(name, connected(url, name, self._listen), failures, context=lambda: {"name": name})
        self.open, self.close = service.open, service.close

    async def _listen(self, connection: psycopg.AsyncConnection) -> None:
        await connection.execute(f"listen {self._channel}".encode())
        self._on_connect()
        while True:
            async for notify in connection.notifies(timeout=0):
                self._on_notify(notify.payload)
            await readable(connection)
