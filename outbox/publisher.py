"""Kafka as the relay sees it: batches go out in order, each comes back whole with the rows that were refused."""

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from outbox.store import PendingRow
from schemas.envelope import to_headers

_WAIT: Final = 0.1  # seconds between looks at the stop signal while nothing is acknowledged


class Batch:
    """Rows on their way; complete when each has been acknowledged or refused."""

    def __init__(self, rows: Sequence[PendingRow]) -> None:
        self.rows = rows
        self.refused: dict[UUID, KafkaError] = {}
        self._outstanding = len(rows)

    @property
    def complete(self) -> bool:
        return self._outstanding == 0

    def refuse(self, event_id: UUID, error: KafkaError) -> None:
        self.refused[event_id] = error
        self._outstanding -= 1

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """The producer's report on one record, called from within `poll`."""
        if error is None:
            self._outstanding -= 1
        else:
            self.refuse(_event_id(message), error)


class Publisher:
    """
    An idempotent producer that never gives up by itself.

    A record waits in the producer as long as the broker is away (`message.timeout.ms` 0): a record that timed out while a later
    one of its key went through would break the order that the relay promises.
    """

    def __init__(self, bootstrap_servers: str, **overrides: Any) -> None:
        self._config = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": "tallyhook-relay",
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": 0,
            "linger.ms": 0,
            "batch.size": 262_144,
            "queue.buffering.max.kbytes": 65_536,
            "topic.metadata.propagation.max.ms": 5_000,
            "topic.metadata.refresh.interval.ms": 60_000,
            "log_level": 3,
        } | overrides
        self._producer = Producer(self._config)

    def send(self, rows: Sequence[PendingRow]) -> Batch:
        """Hand rows to the producer in their order, without waiting for Kafka."""
        batch = Batch(rows)
        produce, report = self._producer.produce, batch.on_delivery
        for row in rows:
            event = row.event
            try:
                produce(row.topic, event.data, event.subject, headers=to_headers(event), on_delivery=report)
            except BufferError:
                self._await_room()
                produce(row.topic, event.data, event.subject, headers=to_headers(event), on_delivery=report)
            except KafkaException as refusal:
                batch.refuse(event.id, refusal.args[0])
        return batch

    def settle(self, batch: Batch, meanwhile: Callable[[], bool]) -> bool:
        """Wait until the batch is complete; False where `meanwhile`, asked again and again, says to stop waiting."""
        while not batch.complete:
            if not self._producer.poll(_WAIT) and not batch.complete and not meanwhile():
                return False
        return True

    def renew(self) -> None:
        """Forget everything under way and start a new producer session; what was not acknowledged is still pending."""
        self._producer.purge()
        self._producer.poll(0)
        self._producer = Producer(self._config)

    def close(self) -> None:
        """Forget everything under way: the rows are still pending and go out with the next start."""
        self._producer.purge()
        self._producer.flush(1)

    def _await_room(self) -> None:
        while not self._producer.poll(_WAIT):
            pass


def _event_id(message: Message) -> UUID:
    value = dict(message.headers() or ())["ce_id"]
    return UUID(value.decode() if isinstance(value, bytes) else value)
