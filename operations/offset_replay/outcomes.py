"""
The outcomes of messages, as their events state them.

A message that was queued when a backup was made may have been sent after it: the restored row is queued again, and only the log
shows the outcome. Leads do not need this step, because their worker reads its own events.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from psycopg import Connection

from operations.offset_replay import log, store
from operations.offset_replay.bounds import Moment, Start
from operations.offset_replay.log import OffsetRange
from operations.offset_replay.store import Outcome
from outbox.offsets import Offsets
from runtime.kafka import Cluster
from schemas.operations import NotificationFailed, NotificationSent, NotificationSuppressed
from schemas.topics import Topic
from streams.errors import Poison
from streams.notifications.store import STATUS
from streams.records import Record, data_of, decode

WORKER: Final = "notifications"


def settle(offsets: Offsets, kafka: Cluster, connection: Connection, start: Start) -> int:
    """Set waiting messages to the outcome that the log states, and return how many. Raises BrokerError."""
    spans = offsets.spans([Topic.NOTIFICATIONS])
    begins = offsets.at(start.at, [Topic.NOTIFICATIONS]) if isinstance(start, Moment) else {}
    ranges = {place: OffsetRange(begins.get(place, span.begin), span.end) for place, span in spans.items()}
    return sum(store.settle(connection, list(outcomes_in(batch).values())) for batch in log.read(kafka, ranges))


def outcomes_in(batch: Sequence[Record]) -> dict[UUID, Outcome]:
    """Return the last outcome of each message; other records are skipped."""
    found: dict[UUID, Outcome] = {}
    for event in _events(batch):
        reason = None if isinstance(event, NotificationSent) else event.reason
        found[event.id] = Outcome(event.id, STATUS[type(event)], reason, event.attempts)
    return found


def _events(batch: Sequence[Record]) -> Iterable[NotificationSent | NotificationFailed | NotificationSuppressed]:
    for record in batch:
        try:
            event = data_of(decode(record), NotificationSent, NotificationFailed, NotificationSuppressed)
        except Poison:
            continue
        if isinstance(event, NotificationSent | NotificationFailed | NotificationSuppressed):
            yield event
