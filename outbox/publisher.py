"""Sends the relay's batches to Kafka in order, and reports each as a whole, with the rows that Kafka refused."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from outbox import resend
from outbox.acknowledged import AcknowledgedOffsets
from outbox.faults import fault_of_text, with_certificate_cause
from outbox.relay_store import PendingRow
from runtime import tracing
from runtime.excerpts import described
from runtime.heartbeat import now
from runtime.kafka import Cluster
from runtime.sessions import DEFAULT_LEASE
from schemas.envelope import to_headers

log = structlog.get_logger()

Report = Callable[[KafkaError | None, Message], None]

# Fractions of the lease.
_TOPIC_UNKNOWN: Final = 0.2
"""How long a new session waits for a topic that is unknown. If longer than `_PATIENCE`, a row would never be refused for it."""
_PATIENCE: Final = 0.4
_MESSAGE_TIMEOUT: Final = 0.7
"""The producer's limit for a record; at its end Postgres may end a session that was last used a quarter of the lease before."""
_SILENT: Final = 0.5
"""Seconds without an acknowledgement after which no more rows are handed over, so that few records wait at once."""
_PURGED: Final = KafkaError(KafkaError._PURGE_QUEUE)  # noqa: SLF001  # confluent names its local codes with an underscore
_RECORD_MAX: Final = 100_000_000
"""Bytes of a record's key and value. A broker closes the connection at a request of 100 MiB, so no larger record can be sent."""
_OUR_TIME: Final = 0
_NO_TIME: Final = -1
"""The time of a record that has none: a broker that compares times with its clock accepts it."""
_UNSTAMPED: Final = 60.0  # seconds without our times, once a broker has refused one
_LOG_EVERY: Final = 30.0  # seconds
_WAIT: Final = 0.1  # seconds between looks at the stop signal while nothing is acknowledged


class Refusal(NamedTuple):
    """The refusal of a row; `alone` if the answer was about this row only."""

    error: KafkaError | Exception
    alone: bool

    @property
    def detail(self) -> str:
        """The text for an operator."""
        return self.error.str() if isinstance(self.error, KafkaError) else described(self.error)


class Batch:
    """Rows under way; complete when each has been acknowledged or refused."""

    def __init__(self, rows: Sequence[PendingRow], offsets: AcknowledgedOffsets) -> None:
        self.rows = rows
        self._note_offset = offsets.note
        self.began = tracing.now()
        self.handed_over_at = now()
        self.refused: dict[int, Refusal] = {}
        """By the row's place in the batch."""
        self.outstanding = len(rows)

    @property
    def complete(self) -> bool:
        return self.outstanding == 0

    @property
    def acknowledged(self) -> list[PendingRow]:
        """The rows that Kafka has, once the batch is complete."""
        return [row for place, row in enumerate(self.rows) if place not in self.refused] if self.refused else [*self.rows]

    @property
    def refused_for_its_time(self) -> bool:
        """Report whether Kafka refused a record because our clock, which stamps it, differs too much from its own."""
        errors = [refusal.error for refusal in self.refused.values()]
        return any(isinstance(error, KafkaError) and error.code() == KafkaError.INVALID_TIMESTAMP for error in errors)

    def refuse(self, place: int, error: KafkaError | Exception, *, alone: bool) -> None:
        self.refused[place] = Refusal(error, alone)
        self.outstanding -= 1

    def refuse_from(self, place: int, error: KafkaError) -> None:
        """Refuse this row and all that follow it."""
        for each in range(place, len(self.rows)):
            self.refuse(each, error, alone=False)

    def report(self, place: int, error: KafkaError | None, message: Message) -> None:
        """Take the producer's report on one row; called from within `poll`."""
        if error is None:
            self.outstanding -= 1
            self._note_offset(self.rows[place].event.topic, message.partition(), message.offset())
        else:
            self.refuse(place, error, alone=len(self.rows) == 1)


class Publisher:
    """
    An idempotent producer that gives up each record before the lease ends.

    If Kafka has not acknowledged a batch after `_PATIENCE` of the lease, everything under way is taken back at once and sent
    again in order: a record that timed out by itself while a later one of its key went through would break the order that
    the relay promises. The producer's own limit for a record (`message.timeout.ms`) is well above that and below the lease, for
    a process that was suspended: otherwise its records would still be sent once it resumes, from shards that it has lost by then.
    """

    def __init__(self, kafka: Cluster, lease: timedelta = DEFAULT_LEASE) -> None:
        milliseconds = lease.total_seconds() * 1000
        self._patience = lease.total_seconds() * _PATIENCE
        self._logged: dict[str, float] = {}
        self._unstamped_until = 0.0
        self._under_way: list[Batch] = []
        self._ended = False
        self.offsets = AcknowledgedOffsets()
        self._kafka = kafka
        self._config: dict[str, Any] = kafka.client | {
            "client.id": "tallyhook-relay",
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(milliseconds * _MESSAGE_TIMEOUT),
            # Each record waits a millisecond for others: under load that is a tenth less work per record for client and broker.
            "linger.ms": 1,
            "batch.size": 262_144,
            # The broker decides by the topic's setting which record is too large; the client would refuse any above 1 MB itself.
            "message.max.bytes": _RECORD_MAX,
            "queue.buffering.max.kbytes": 131_072,  # has room for the largest record: one that never fits would wait for ever
            "topic.metadata.propagation.max.ms": int(milliseconds * _TOPIC_UNKNOWN),
            "topic.metadata.refresh.interval.ms": 60_000,
            # A refused record ends the session, so no later record can be sent before it is handled.
            "enable.gapless.guarantee": True,
            "error_cb": self._note_error,
            "logger": logging.getLogger("librdkafka"),
            "log_level": 3,
        }
        self._producer = Producer(self._config)

    @property
    def silent(self) -> bool:
        """Report whether Kafka has left something unacknowledged for a while; then it should not get more."""
        return self._age > _SILENT

    def send(self, rows: Sequence[PendingRow], check: Callable[[], None]) -> Batch:
        """Hand rows to the producer in their order, without waiting for Kafka; `check` raises if no row may be sent any more."""
        if self._ended and all(each.complete for each in self._under_way):
            self.renew()  # else every row would be refused, and sent again after a pause
        batch = Batch(rows, self.offsets)
        self._under_way = [*(each for each in self._under_way if not each.complete), batch]
        report = batch.report
        for place, row in enumerate(rows):
            check()
            try:
                if not self._produce_when_there_is_room(row, partial(report, place)):
                    batch.refuse_from(place, _PURGED)
                    break
            except KafkaException as refusal:
                batch.refuse(place, refusal.args[0], alone=True)
            except (MemoryError, OSError):  # the fault of this process, not of the row: its session ends, and begins again
                raise
            except Exception as error:  # noqa: BLE001  # this row yields no record; the others are still sent
                batch.refuse(place, error, alone=True)
        return batch

    def settle(self, batch: Batch, meanwhile: Callable[[], bool]) -> bool:
        """
        Wait until the batch is complete; return False if `meanwhile`, which is called again and again, returns False.

        If Kafka is silent for too long, every row that it has not acknowledged is refused. If it refuses our clock, records are
        sent without a time for a while: only a topic that keeps the producers' times (`CreateTime`) compares them.
        """
        while not batch.complete:
            if self._age > self._patience:
                self._producer.purge()
            if not self._push(batch) and not batch.complete and not meanwhile():
                return False
        if batch.refused_for_its_time:
            self._unstamped_until = now() + _UNSTAMPED
            log.warning("records_unstamped", reason="timestamp_refused", seconds=_UNSTAMPED)
        return True

    def renew_login(self, kafka: Cluster) -> None:
        """Let new connections use this name and password; those that are open stay."""
        self._config |= kafka.client
        if kafka.login:
            self._producer.set_sasl_credentials(*kafka.login)

    def renew(self) -> None:
        """Forget everything under way and start a new producer session; rows that were not acknowledged are still pending."""
        self.close()
        self._producer = Producer(self._config)
        self._ended = False

    def close(self) -> None:
        """Forget everything under way: the rows are still pending and are sent after the next start."""
        self._producer.purge()
        self._poll(0)
        self._under_way.clear()

    def _produce(self, row: PendingRow, report: Report) -> None:
        event, topic = row.event, self._kafka.named(row.event.topic)
        options: dict[str, Any] = {"on_delivery": report, "timestamp": _NO_TIME if now() < self._unstamped_until else _OUR_TIME}
        if event.type == resend.TYPE:
            raw = resend.record_of(event.data)
            self._producer.produce(topic, raw.value, raw.key, headers=[*raw.headers], **options)
            return
        self._producer.produce(topic, event.data, event.aggregate_id, headers=to_headers(event), **options)

    def _produce_when_there_is_room(self, row: PendingRow, report: Report) -> bool:
        """Return False if there is no room for too long: then no later row may be sent either."""
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
        """The seconds that the oldest batch under way has waited for Kafka."""
        oldest = next((batch for batch in self._under_way if not batch.complete), None)
        return now() - oldest.handed_over_at if oldest else 0.0

    def _push(self, batch: Batch) -> int:
        """
        Serve reports for a while, and return their number; the records of a batch that is alone are sent at once.

        With a second batch under way there is a backlog: its records wait a little, so that requests are larger.
        """
        if any(each is not batch and not each.complete for each in self._under_way):
            return self._poll(_WAIT)
        before = batch.outstanding
        try:
            self._producer.flush(_WAIT)
        except KafkaException as fatal:
            self._note_error(fatal.args[0])
            return 1
        return before - batch.outstanding

    def _poll(self, seconds: float) -> int:
        """Serve reports and return their number. The end of a session counts as one: each row gets a report of its own."""
        try:
            return self._producer.poll(seconds)
        except KafkaException as fatal:
            self._note_error(fatal.args[0])
            return 1

    def _note_error(self, error: KafkaError) -> None:
        """
        Note whether the session has ended, and log the error.

        Each kind is logged every 30 s at most: every new session meets the same one while Kafka is away.
        """
        self._ended = self._ended or error.fatal()
        reason = error.name().lower().lstrip("_")
        if now() - self._logged.get(reason, -_LOG_EVERY) >= _LOG_EVERY:
            self._logged[reason] = now()
            fault = fault_of_text(error.str())
            why = {"fault": with_certificate_cause(self._kafka, fault).text, "see": fault.settings} if fault else {}
            log.warning("kafka_error", reason=reason, error=error.str(), fatal=error.fatal(), **why)
