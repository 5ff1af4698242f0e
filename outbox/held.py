"""The topics that Kafka does not accept for now: their rows stay pending, in order, while rows of other topics are sent."""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final

import structlog

from outbox import rights
from outbox.relay_store import PendingRow
from runtime.heartbeat import now
from runtime.kafka import Cluster

log = structlog.get_logger()

UNKNOWN: Final = "topic_unknown"
"""The reason why the rows of a topic wait that Kafka does not know, and why they are parked if it never does."""
RETRY: Final = 10.0  # seconds
UNKNOWN_MAX: Final = 60.0
"""Seconds for which a topic may be unknown: brokers that restart may leave one out of an answer, and know it a moment later."""
_IN_A_ROW: Final = 3 * RETRY
"""Seconds between two refusals that belong together: a try may itself wait for some seconds."""
_ROWS_MAX: Final = 5_000
"""Rows that are held; beyond this number the relay reads no others."""


class HeldTopics:
    """
    The topics that are held, and the ids of their rows that were read meanwhile.

    A try sends only the oldest row of each topic. With more rows under way, the right could be granted between two requests, so
    that Kafka accepts only the later one: its events would overtake those of the first. Once the oldest row is acknowledged,
    the others may follow.
    """

    def __init__(self, kafka: Cluster) -> None:
        self._kafka = kafka
        self._topics: dict[str, list[int]] = {}
        """By topic, the ids of its rows as a heap."""
        self._logged: set[str] = set()
        self._unknown: dict[str, tuple[float, float]] = {}
        """By topic, the times of the first and the last of the refusals in a row because Kafka does not know it."""
        self._next_try = 0.0

    @property
    def ids(self) -> list[int]:
        return [each for ids in self._topics.values() for each in ids]

    @property
    def full(self) -> bool:
        return sum(map(len, self._topics.values())) >= _ROWS_MAX

    @property
    def due(self) -> bool:
        """Report whether it is time for a try."""
        return any(self._topics.values()) and now() >= self._next_try

    def hold(self, topic: str, reason: str) -> bool:
        """Hold a topic, and log that once per try. Return False, and stop holding it, if Kafka has not known it for too long."""
        if reason == UNKNOWN and self._unknown_for(topic) >= UNKNOWN_MAX:
            self._stop_holding(topic)
            return False
        if topic in self._logged:
            return True
        if not self._topics:
            self._next_try = now() + RETRY
        self._topics.setdefault(topic, [])
        self._logged.add(topic)
        name = self._kafka.named(topic)
        error = (
            f"Kafka does not know the topic {name}" if reason == UNKNOWN else rights.describe_missing("WRITE", "topic", [name])
        )
        log.warning("topic_held", reason=reason, topic=topic, error=error, retry_in=RETRY)
        return True

    def sift(self, rows: Sequence[PendingRow]) -> list[PendingRow]:
        """Return the rows that may be sent, and remember the others: no row overtakes an earlier one of its topic."""
        for row in rows:
            if row.event.topic in self._topics:
                heappush(self._topics[row.event.topic], row.id)
        return [row for row in rows if row.event.topic not in self._topics]

    def begin_try(self) -> int:
        """Forget the oldest row of each topic, so that it is read again, and return the number of these rows."""
        self._next_try = now() + RETRY
        self._logged.clear()
        return len([heappop(ids) for ids in self._topics.values() if ids])

    def oldest(self, rows: Sequence[PendingRow]) -> list[PendingRow]:
        """Return the first row of each topic that is held; the others are read again."""
        firsts = {row.event.topic: row for row in reversed(rows) if row.event.topic in self._topics}
        return sorted(firsts.values(), key=lambda row: row.id)

    def release(self, topic: str) -> None:
        """Let a topic's rows be sent again, if it was held: Kafka has accepted one."""
        self._unknown.pop(topic, None)
        self._stop_holding(topic)

    def forget_rows(self) -> None:
        """Forget which rows were read: some may be another relay's now, and the others are read again."""
        for ids in self._topics.values():
            ids.clear()

    def _unknown_for(self, topic: str) -> float:
        """Note that Kafka does not know the topic; return for how many seconds each try has been refused for that reason."""
        at = now()
        first, last = self._unknown.get(topic, (at, at))
        if at - last > _IN_A_ROW:  # the tries in between ended otherwise, or another relay made them
            first = at
        self._unknown[topic] = first, at
        return at - first

    def _stop_holding(self, topic: str) -> None:
        self._topics.pop(topic, None)
        self._logged.discard(topic)
