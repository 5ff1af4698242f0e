"""
Decides about each row that Kafka has refused or that yields no event, and parks those that can never be sent.

A parked row keeps its reason, and operators get an alert.
"""

from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from confluent_kafka import KafkaError
from psycopg import Connection

from outbox import held, metrics, relay_store, rights
from outbox.append import event_of
from outbox.relay_store import UNREADABLE, PendingRow, UnreadableRow
from runtime.database import UNAVAILABLE
from runtime.excerpts import excerpt_of
from runtime.tracing import Trace, continue_trace, new_trace
from schemas.envelope import Event
from schemas.operations import AlertRaised
from schemas.topics import Topic


class Park(NamedTuple):
    """Park the row under this reason: sending it again cannot help."""

    reason: str


class Resend(NamedTuple):
    """Leave the row pending; it is sent again, with all that followed it, from a new producer session."""

    reason: str


class Isolate(NamedTuple):
    """Send again one by one: Kafka refuses whole batches, so only a row that was sent alone is certainly the cause."""

    reason: str


class Hold(NamedTuple):
    """
    Leave all rows of this topic pending for a while, and send the others.

    An operator can grant a missing right, and brokers that restart, or a topic that is created again, may miss it for a moment.
    """

    reason: str


# Refusals of the topic, which are the same for each of its records.
_TOPIC: Final[dict[int, Hold | Park]] = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: Hold(rights.MISSING),
    KafkaError.UNKNOWN_TOPIC_OR_PART: Hold(held.UNKNOWN),
    KafkaError._UNKNOWN_TOPIC: Hold(held.UNKNOWN),  # noqa: SLF001  # confluent names its local codes with an underscore
    KafkaError._UNKNOWN_PARTITION: Hold(held.UNKNOWN),  # noqa: SLF001
    KafkaError.TOPIC_EXCEPTION: Park("topic_invalid"),
}
# Refusals of one record, which Kafka returns for all records of its batch.
_RECORD: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE: "record_too_large",
    KafkaError.RECORD_LIST_TOO_LARGE: "record_too_large",
    KafkaError.INVALID_RECORD: "record_invalid",
    KafkaError.INVALID_MSG: "record_invalid",
    KafkaError.POLICY_VIOLATION: "record_invalid",
    KafkaError._INVALID_ARG: "record_invalid",  # noqa: SLF001  # the client's own code: no such record can be produced
}


def decide(error: KafkaError | Exception, *, alone: bool) -> Park | Isolate | Hold | Resend:
    """Park what can never be sent, isolate one record among many, wait for a topic or a right, and send everything else again."""
    if not isinstance(error, KafkaError):
        return Park(UNREADABLE)  # our own code or the client raised it while making the record
    code = error.code()
    if code in _TOPIC:
        return _TOPIC[code]
    if code in _RECORD:
        return Park(_RECORD[code]) if alone else Isolate(_RECORD[code])
    return Resend(error.name().lower().lstrip("_"))


log = structlog.get_logger()


def park_refused(connection: Connection, row: PendingRow, reason: str, detail: str) -> None:
    """Park an event that Kafka refuses for good."""
    event = row.event
    summary = f"Kafka refuses an event for {event.topic}: {detail}"
    _park(connection, UnreadableRow(row.id, event.id, event.topic, reason, detail), summary, continue_trace(event.traceparent))


def park_unreadable(connection: Connection, row: UnreadableRow) -> None:
    """Park a row that yields no event."""
    _park(connection, row, f"An event cannot be sent to {row.topic or 'its topic'}: {row.detail}", new_trace())


def _park(connection: Connection, row: UnreadableRow, summary: str, trace: Trace) -> None:
    reason, topic = row.reason, row.topic
    log.error("event_parked", reason=reason, event_id=row.event_id, topic=topic, error=row.detail, trace_id=trace.trace_id)
    # An alert about an alert that cannot be sent could not be sent either, and so on for ever.
    alert = None if topic == Topic.ALERTS else alert_of(row.event_id, summary, trace)
    try:
        relay_store.park(connection, row.id, reason, alert)
    except UNAVAILABLE:
        raise
    except Exception:  # the log line and the metric report it too; a row that stays would be read in every round
        log.exception("alert_unwritable", reason="internal_error", event_id=row.event_id)
        relay_store.park(connection, row.id, reason, None)
    metrics.PARKED.labels(reason).inc()


def alert_of(event_id: UUID, summary: str, trace: Trace) -> Event:
    """Return the alert that an event is parked."""
    alert = AlertRaised(
        alert="outbox_event_parked",
        subject=str(event_id),
        summary=excerpt_of(summary),
        runbook="runbooks/outbox-backlog.md",
    )
    return event_of(
        alert,
        aggregate_id=alert.alert,
        source="/relay",
        occurred_at=datetime.now(UTC),
        trace=trace,
        causation_id=event_id,
    )
