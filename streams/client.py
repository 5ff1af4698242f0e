"""aiokafka's connections, which log in with the password as it is now: a file that holds it may have changed."""

from aiokafka.client import AIOKafkaClient

from runtime.renewal import newest


class Client(AIOKafkaClient):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's client, which keeps the password that it was made with and gives it to each new connection."""

    @property
    def _sasl_plain_password(self) -> str | None:
        given: str | None = vars(self)["_sasl_plain_password"]
        return given and newest(given)
