"""The topics that the relay may not write to: their rows stay pending, in order, while rows of other topics are sent."""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final

import structlog

from outbox import rights
from outbox.relay_store import PendingRow
from runtime.heartbeat import now
from runtime.kafka import Cluster

log = structlog.get_logger()

RETRY: Final = 10.0  # seconds
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

    def hold(self, topic: str) -> None:
        """Hold a topic, and log that once per try."""
        if topic in self._logged:
            return
        if not self._topics:
            self._next_try = now() + RETRY
        self._topics.setdefault(topic, [])
        self._logged.add(topic)
        error = rights.describe_missing("WRITE", "topic", [self._kafka.named(topic)])
        log.warning("topic_held", reason=rights.MISSING, topic=topic, error=error, retry_in=RETRY)

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
        self._topics.pop(topic, None)
        self._logged.discard(topic)

    def forget_rows(self) -> None:
        """Forget which rows were read: some may be another relay's now, and the others are read again."""
        for ids in self._topics.values():
            ids.clear()
