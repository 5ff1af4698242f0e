"""Parking a pending row that can never be sent: the row keeps its reason, and operators get an alert."""

from datetime import UTC, datetime
from uuid import UUID

import structlog
from psycopg import Connection

from outbox import metrics, relay_store
from outbox.append import event_of
from outbox.relay_store import PendingRow, UnreadableRow
from runtime.database import UNAVAILABLE
from runtime.excerpts import excerpt_of
from runtime.tracing import Trace, continue_trace, new_trace
from schemas.envelope import Event
from schemas.operations import AlertRaised
from schemas.topics import Topic

log = structlog.get_logger()


def park_refused(connection: Connection, row: PendingRow, reason: str, detail: str) -> None:
    """Park an event that Kafka refuses for good."""
    event = row.event
    summary = f"Kafka refuses an event for {event.topic}: {detail}"
    _park(connection, UnreadableRow(row.id, event.id, event.topic, reason, detail), summary, continue_trace(event.traceparent))


def park_unreadable(connection: Connection, row: UnreadableRow) -> None:
    """Park a row that no event can be made of."""
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
    except Exception:  # the log line and the metric report it as well; a row that stays would be met at every turn
        log.exception("alert_unwritable", reason="internal_error", event_id=row.event_id)
        relay_store.park(connection, row.id, reason, None)
    metrics.PARKED.labels(reason).inc()


def alert_of(event_id: UUID, summary: str, trace: Trace) -> Event:
    """The alert that an event is parked."""
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
