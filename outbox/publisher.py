"""Kafka as the relay sees it: batches go out in order, each comes back whole with the rows that were refused."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from outbox import resend
from outbox.relay_store import PendingRow
from runtime import spans
from runtime.excerpts import described
from runtime.heartbeat import now
from runtime.kafka import Cluster
from runtime.sessions import DEFAULT_LEASE
from schemas.envelope import to_headers

log = structlog.get_logger()

Report = Callable[[KafkaError | None, Message], None]

# Parts of the lease.
_UNKNOWN: Final = 0.2
"""For so long a topic may be new to Kafka; longer than the patience, and a row for one that is missing would never be parked."""
_PATIENCE: Final = 0.4
_KEPT: Final = 0.7
"""The server may end a session by then that last spoke a quarter of the lease before."""
_SILENT: Final = 0.5
"""Seconds without an acknowledgement after which nothing more is handed over: few records then wait beside each other."""
_TAKEN_BACK: Final = KafkaError(KafkaError._PURGE_QUEUE)  # noqa: SLF001  # confluent names its local codes with an underscore
_QUIET: Final = 30.0  # seconds
_WAIT: Final = 0.1  # seconds between looks at the stop signal while nothing is acknowledged


class Refusal(NamedTuple):
    """Why a row did not go out; `alone` where the answer was about this row only."""

    error: KafkaError | Exception
    alone: bool

    @property
    def detail(self) -> str:
        """For an operator."""
        return self.error.str() if isinstance(self.error, KafkaError) else described(self.error)


class Batch:
    """Rows on their way; complete when each has been acknowledged or refused."""

    def __init__(self, rows: Sequence[PendingRow]) -> None:
        self.rows = rows
        self.began = spans.now()
        self.handed_over_at = now()
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

    def refuse(self, place: int, error: KafkaError | Exception, *, alone: bool) -> None:
        self.refused[place] = Refusal(error, alone)
        self._outstanding -= 1

    def refuse_from(self, place: int, error: KafkaError) -> None:
        """Refuse this row and all that follow it."""
        for each in range(place, len(self.rows)):
            self.refuse(each, error, alone=False)

    def report(self, place: int, error: KafkaError | None, _: Message) -> None:
        """The producer's word on one row, called from within `poll`."""
        if error is None:
            self._outstanding -= 1
        else:
            self.refuse(place, error, alone=len(self.rows) == 1)


class Publisher:
    """
    An idempotent producer that keeps no record for as long as the lease.

    Where Kafka has not acknowledged a batch after `_PATIENCE` of the lease, all that is under way is taken back at once, and goes
    out again in its order: a record that timed out by itself while a later one of its key went through would break the order that
    the relay promises. The producer's own limit for a record (`message.timeout.ms`) is well above that and below the lease, so it
    is for a process that was stopped: what that had handed over would otherwise still go out once it goes on, from a share that
    it has lost by then.
    """

    def __init__(self, kafka: Cluster, lease: timedelta = DEFAULT_LEASE) -> None:
        milliseconds = lease.total_seconds() * 1000
        self._patience = lease.total_seconds() * _PATIENCE
        self._logged: dict[str, float] = {}
        self._under_way: list[Batch] = []
        self._config: dict[str, Any] = kafka.client | {
            "client.id": "tallyhook-relay",
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(milliseconds * _KEPT),
            # A millisecond of company for each record: a tenth less work a record for client and broker under load.
            "linger.ms": 1,
            "batch.size": 262_144,
            "queue.buffering.max.kbytes": 65_536,
            "topic.metadata.propagation.max.ms": int(milliseconds * _UNKNOWN),
            "topic.metadata.refresh.interval.ms": 60_000,
            # A refused record ends the session, and nothing that follows it can go out before it is dealt with.
            "enable.gapless.guarantee": True,
            "error_cb": self._log_error,
            "logger": logging.getLogger("librdkafka"),
            "log_level": 3,
        }
        self._producer = Producer(self._config)

    @property
    def silent(self) -> bool:
        """Whether Kafka has something that it has not acknowledged for a while: then it should not get more."""
        return self._age > _SILENT

    def send(self, rows: Sequence[PendingRow], check: Callable[[], None]) -> Batch:
        """Hand rows to the producer in their order, without waiting for Kafka; `check` raises where no row may go any more."""
        batch = Batch(rows)
        self._under_way = [*(each for each in self._under_way if not each.complete), batch]
        report = batch.report
        for place, row in enumerate(rows):
            check()
            try:
                if not self._produce_when_there_is_room(row, partial(report, place)):
                    batch.refuse_from(place, _TAKEN_BACK)
                    break
            except KafkaException as refusal:
                batch.refuse(place, refusal.args[0], alone=True)
            except Exception as error:  # noqa: BLE001  # no record can be made of this row; the others go on
                batch.refuse(place, error, alone=True)
        return batch

    def settle(self, batch: Batch, meanwhile: Callable[[], bool]) -> bool:
        """
        Wait until the batch is complete; False where `meanwhile`, asked again and again, says to stop waiting.

        Where Kafka is silent for too long, what it has not acknowledged of any batch is refused.
        """
        while not batch.complete:
            if self._age > self._patience:
                self._producer.purge()
            if not self._poll(_WAIT) and not batch.complete and not meanwhile():
                return False
        return True

    def renew(self) -> None:
        """Forget everything under way and start a new producer session; what was not acknowledged is still pending."""
        self.close()
        self._producer = Producer(self._config)

    def close(self) -> None:
        """Forget everything under way: the rows are still pending and go out with the next start."""
        self._producer.purge()
        self._poll(0)
        self._under_way.clear()

    def _produce(self, row: PendingRow, report: Report) -> None:
        event = row.event
        if event.type == resend.TYPE:
            raw = resend.record_of(event.data)
            self._producer.produce(event.topic, raw.value, raw.key, headers=[*raw.headers], on_delivery=report)
            return
        self._producer.produce(event.topic, event.data, event.aggregate_id, headers=to_headers(event), on_delivery=report)

    def _produce_when_there_is_room(self, row: PendingRow, report: Report) -> bool:
        """False where there is none for too long: nothing that follows may go either then."""
        while True:
            try:
                self._produce(row, report)
            except BufferError:
                if self._age > self._patience:
                    return False
                self._poll(_WAIT)
                continue
            return True

    @property
    def _age(self) -> float:
        """How long the oldest batch under way has waited for Kafka, in seconds."""
        oldest = next((batch for batch in self._under_way if not batch.complete), None)
        return now() - oldest.handed_over_at if oldest else 0.0

    def _poll(self, seconds: float) -> int:
        """Serve reports; the number served. The end of a session counts as one: the rows' own reports tell the rest."""
        try:
            return self._producer.poll(seconds)
        except KafkaException as fatal:
            self._log_error(fatal.args[0])
            return 1

    def _log_error(self, error: KafkaError) -> None:
        """Each kind once in a while: every new session meets the same while Kafka is away."""
        reason = error.name().lower().lstrip("_")
        if now() - self._logged.get(reason, -_QUIET) >= _QUIET:
            self._logged[reason] = now()
            log.warning("kafka_error", reason=reason, error=error.str(), fatal=error.fatal())
