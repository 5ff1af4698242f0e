"""Kafka as the relay sees it: batches go out in order, each comes back whole with the rows that were refused."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from outbox import resend
from outbox.store import PendingRow
from runtime import spans
from schemas.envelope import to_headers

log = structlog.get_logger()

Report = Callable[[KafkaError | None, Message], None]

_WAIT: Final = 0.1  # seconds between looks at the stop signal while nothing is acknowledged


class Refusal(NamedTuple):
    """Why a row did not go out; `alone` where the answer was about this row only."""

    error: KafkaError
    alone: bool


class Batch:
    """Rows on their way; complete when each has been acknowledged or refused."""

    def __init__(self, rows: Sequence[PendingRow]) -> None:
        self.rows = rows
        self.began = spans.now()
        self.refused: dict[int, Refusal] = {}
        """By the row's place in the batch."""
        self._outstanding = len(rows)

    @property
    def complete(self) -> bool:
        return self._outstanding == 0

    @property
    def acknowledged(self) -> list[PendingRow]:
        """The rows that Kafka has, once the batch is complete."""
        return [row for place, row in enumerate(self.rows) if place not in self.refused] if self.refused else [*self.rows]

    def refuse(self, place: int, error: KafkaError, *, alone: bool) -> None:
        self.refused[place] = Refusal(error, alone)
        self._outstanding -= 1

    def report(self, place: int, error: KafkaError | None, _: Message) -> None:
        """The producer's word on one row, called from within `poll`."""
        if error is None:
            self._outstanding -= 1
        else:
            self.refuse(place, error, alone=len(self.rows) == 1)


class Publisher:
    """
    An idempotent producer that never gives up by itself.

    A record waits in the producer as long as the broker is away (`message.timeout.ms` 0): a record that timed out while a later
    one of its key went through would break the order that the relay promises.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self._config: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "client.id": "tallyhook-relay",
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": 0,
            # A millisecond of company for each record: a tenth less work a record for client and broker under load.
            "linger.ms": 1,
            "batch.size": 262_144,
            "queue.buffering.max.kbytes": 65_536,
            "topic.metadata.propagation.max.ms": 5_000,
            "topic.metadata.refresh.interval.ms": 60_000,
            # A refused record ends the session, and nothing that follows it can go out before it is dealt with.
            "enable.gapless.guarantee": True,
            "error_cb": _log_error,
            "logger": logging.getLogger("librdkafka"),
            "log_level": 3,
        }
        self._producer = Producer(self._config)

    def send(self, rows: Sequence[PendingRow]) -> Batch:
        """Hand rows to the producer in their order, without waiting for Kafka."""
        batch = Batch(rows)
        report = batch.report
        for place, row in enumerate(rows):
            try:
                self._produce(row, partial(report, place))
            except BufferError:
                self._produce_when_there_is_room(row, partial(report, place))
            except KafkaException as refusal:
                batch.refuse(place, refusal.args[0], alone=True)
        return batch

    def settle(self, batch: Batch, meanwhile: Callable[[], bool]) -> bool:
        """Wait until the batch is complete; False where `meanwhile`, asked again and again, says to stop waiting."""
        while not batch.complete:
            if not self._poll(_WAIT) and not batch.complete and not meanwhile():
                return False
        return True

    def renew(self) -> None:
        """Forget everything under way and start a new producer session; what was not acknowledged is still pending."""
        self._producer.purge()
        self._poll(0)
        self._producer = Producer(self._config)

    def close(self) -> None:
        """Forget everything under way: the rows are still pending and go out with the next start."""
        self._producer.purge()
        self._poll(0)

    def _produce(self, row: PendingRow, report: Report) -> None:
        event = row.event
        if event.type == resend.TYPE:
            raw = resend.record_of(event.data)
            self._producer.produce(row.topic, raw.value, raw.key, headers=[*raw.headers], on_delivery=report)
            return
        self._producer.produce(row.topic, event.data, event.subject, headers=to_headers(event), on_delivery=report)

    def _produce_when_there_is_room(self, row: PendingRow, report: Report) -> None:
        while True:
            self._poll(_WAIT)
            try:
                return self._produce(row, report)
            except BufferError:
                continue

    def _poll(self, seconds: float) -> int:
        """Serve reports; the number served. The end of a session counts as one: the rows' own reports tell the rest."""
        try:
            return self._producer.poll(seconds)
        except KafkaException as fatal:
            _log_error(fatal.args[0])
            return 1


def _log_error(error: KafkaError) -> None:
    log.warning("kafka_error", reason=error.name().lower().lstrip("_"), error=error.str(), fatal=error.fatal())
