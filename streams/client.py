"""aiokafka's connections: they log in with the password as it is now, and none is made for a consumer that has ended."""

from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import TopicPartition

from runtime.renewal import newest


class Client(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """
    aiokafka's client, with three changes.

    It keeps the password that it was made with and gives it to each new connection; the file that holds it may have changed.
    And a call that is under way while it closes, such as the look for the committed offsets in a rebalance, opens its
    connections again, which then nobody closes. The third is that the bytes of a fetch are there for who reads them again.
    """

    _is_closed = False
    fetched: Any = None
    """The answer to the last fetch, until it is taken; it is whole only in the turn of the loop in which `send` returns."""

    @property
    def _sasl_plain_password(self) -> str | None:
        given: str | None = vars(self)["_sasl_plain_password"]
        return given and newest(given)

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        """Send a request, and return what is answered."""
        response = await super().send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            self.fetched = response
        return response

    def take_fetched(self) -> list[tuple[TopicPartition, int, int, bytes]]:
        """Return, once, what the last fetch was answered: each partition with Kafka's error code, its end and its batches."""
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
        """Return a connection to a broker; None, as for one that is not reached, once this client is closed."""
        connection = None if self._is_closed else await super()._get_conn(*arguments, **options)
        if connection and self._is_closed:
            await connection.close()
            return None
        return connection
