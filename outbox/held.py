"""The topics that the relay may not write to: their rows stay in line, in their order, while those of other topics pass."""

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
_MOST: Final = 5_000
"""Rows; beyond them the relay waits with everything."""


class Held:
    """
    The topics that are held, and the ids of the rows of theirs that were met meanwhile.

    A try lets only the oldest row of each go. With more under way the right could come between two requests, and the later of
    them be taken alone: its events would overtake those of the first. Once the one is acknowledged, the others may follow.
    """

    def __init__(self, kafka: Cluster) -> None:
        self._kafka = kafka
        self._topics: dict[str, list[int]] = {}
        """The ids as a heap."""
        self._told: set[str] = set()
        self._next_try = 0.0

    @property
    def ids(self) -> list[int]:
        return [each for ids in self._topics.values() for each in ids]

    @property
    def full(self) -> bool:
        return sum(map(len, self._topics.values())) >= _MOST

    @property
    def due(self) -> bool:
        """Report whether it is time for a try."""
        return any(self._topics.values()) and now() >= self._next_try

    def hold(self, topic: str) -> None:
        """Hold a topic, and say so in one line a try."""
        if topic in self._told:
            return
        if not self._topics:
            self._next_try = now() + RETRY
        self._topics.setdefault(topic, [])
        self._told.add(topic)
        error = rights.told("WRITE", "topic", [self._kafka.named(topic)])
        log.warning("topic_held", reason=rights.MISSING, topic=topic, error=error, retry_in=RETRY)

    def sift(self, rows: Sequence[PendingRow]) -> list[PendingRow]:
        """Return the rows that may go out, and note the others: none overtakes one of its topic."""
        for row in rows:
            if row.event.topic in self._topics:
                heappush(self._topics[row.event.topic], row.id)
        return [row for row in rows if row.event.topic not in self._topics]

    def begin_try(self) -> int:
        """Forget the oldest row of each topic, so that it is read again, and return how many these are."""
        self._next_try = now() + RETRY
        self._told.clear()
        return len([heappop(ids) for ids in self._topics.values() if ids])

    def oldest(self, rows: Sequence[PendingRow]) -> list[PendingRow]:
        """Return the first row of each topic that is held; the others are read again."""
        firsts = {row.event.topic: row for row in reversed(rows) if row.event.topic in self._topics}
        return sorted(firsts.values(), key=lambda row: row.id)

    def free(self, topic: str) -> None:
        """Let a topic's rows go out again, if it was held: Kafka has taken one."""
        self._topics.pop(topic, None)
        self._told.discard(topic)

    def forget_rows(self) -> None:
        """Forget which rows were met: some of them may be another relay's by now, and those that are not are met again."""
        for ids in self._topics.values():
            ids.clear()
