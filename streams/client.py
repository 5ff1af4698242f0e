"""aiokafka's connections: they log in with the password as it is now, and none is made for a consumer that has ended."""

from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection

from runtime.renewal import newest


class Client(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """
    aiokafka's client, with two changes.

    It keeps the password that it was made with and gives it to each new connection; the file that holds it may have changed.
    And a call that is under way while it closes, such as the look for the committed offsets in a rebalance, opens its
    connections again, which then nobody closes.
    """

    _is_closed = False

    @property
    def _sasl_plain_password(self) -> str | None:
        given: str | None = vars(self)["_sasl_plain_password"]
        return given and newest(given)

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
