"""aiokafka's connections: they log in with the current password, and a consumer that has ended opens none."""

from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from runtime.renewal import newest


class Client(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """
    aiokafka's client, with three changes.

    A new connection uses the current password: aiokafka keeps the one that the client was made with, although the file that
    holds it may have changed. A closed client opens no connections: a call under way during the close, such as the request for
    committed offsets in a rebalance, would open them again, and nothing would close them. The bytes of a fetch are kept for a
    second reading.
    """

    _is_closed = False
    fetched: Any = None
    """The response to the last fetch, until it is taken: read it right after `send`, before another task runs."""

    @property
    def _sasl_plain_password(self) -> str | None:
        given: str | None = vars(self)["_sasl_plain_password"]
        return given and newest(given)

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """Send a request, and return the response."""
        response = await super().send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            self.fetched = response
        return response

    def take_fetched(self) -> list[tuple[TopicPartition, int, int, bytes]]:
        """Return the response to the last fetch, once: each partition with Kafka's error code, its end offset and its batches."""
        response, self.fetched = self.fetched, None
        return [
            (TopicPartition(topic, partition), code, end, rest[-1] or b"")
            for topic, partitions in (response.topics if response else ())
            for partition, code, end, *rest in partitions
        ]

    async def close(self) -> None:
        """Close the connections, also those that are being made now."""
        self._is_closed = True
        await super().close()

    async def _get_conn(self, *arguments: Any, **options: Any) -> AIOKafkaConnection | None:
        """Return a connection to a broker; None if this client is closed, as for a broker that cannot be reached."""
        connection = None if self._is_closed else await super()._get_conn(*arguments, **options)
        if connection and self._is_closed:
            await connection.close()
            return None
        return connection
