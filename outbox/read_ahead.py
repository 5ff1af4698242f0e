"""Reads the next batch while the one before it is on its way to Kafka."""

from concurrent.futures import Future, ThreadPoolExecutor

from psycopg import Connection

from outbox import relay_store


class ReadAhead:
    """The next batch, read by another thread on a connection of its own while the present one is sent."""

    def __init__(self, connection: Connection, executor: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._executor = executor
        self._reading: Future[relay_store.Pending] | None = None

    def start(self, shards: list[int], under_way: list[int], room: relay_store.Room) -> None:
        self._reading = self._executor.submit(relay_store.read_pending, self._connection, list(shards), under_way, room)

    @property
    def is_reading(self) -> bool:
        """Return whether a batch is being read ahead, which means that there is a backlog."""
        return self._reading is not None

    def take(self) -> relay_store.Pending | None:
        """Return the batch that was read ahead, or None if no read was started."""
        reading, self._reading = self._reading, None
        return reading.result() if reading else None
