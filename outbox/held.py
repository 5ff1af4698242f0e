"""The topics that the relay may not write to: their rows stay in line, in their order, while those of other topics pass."""

from collections.abc import Sequence
from typing import Final

import structlog

from outbox import rights
from outbox.relay_store import PendingRow
from runtime.heartbeat import now
from runtime.kafka import Cluster

log = structlog.get_logger()

RETRY: Final = 10.0  # seconds
_MOST: Final = 20_000
"""Rows; beyond them the relay waits with everything."""


class Held:
    """The topics that are held until the next try, and the ids of the rows of theirs that were met meanwhile."""

    def __init__(self, kafka: Cluster) -> None:
        self._kafka = kafka
        self._topics: set[str] = set()
        self._until = 0.0
        self.ids: list[int] = []

    @property
    def full(self) -> bool:
        return len(self.ids) >= _MOST

    def hold(self, topic: str) -> None:
        """Hold a topic, and say so in one line a try."""
        if topic in self._topics:
            return
        if not self._topics:
            self._until = now() + RETRY
        self._topics.add(topic)
        error = rights.told("WRITE", "topic", [self._kafka.named(topic)])
        log.warning("topic_held", reason=rights.MISSING, topic=topic, error=error, retry_in=RETRY)

    def sift(self, rows: Sequence[PendingRow]) -> list[PendingRow]:
        """Return the rows that may go out, and note the others: none overtakes one of its topic."""
        if not self._topics:
            return [*rows]
        self.ids += (row.id for row in rows if row.event.topic in self._topics)
        return [row for row in rows if row.event.topic not in self._topics]

    def release_when_due(self) -> bool:
        """Forget everything when it is time for the next try; return true if so."""
        if not self._topics or now() < self._until:
            return False
        self._topics.clear()
        self.ids.clear()
        return True
