"""Partitions that wait at a batch that cannot be read: its checksum is wrong, its codec unknown, or a length impossible."""

from typing import Final, NamedTuple

import structlog
from faust.transport.consumer import RecordMap
from faust.types import TP

from runtime.excerpts import described
from runtime.kafka import Cluster
from streams import metrics

log = structlog.get_logger()

UNREADABLE: Final = "batch_unreadable"
"""The reason of a partition that waits: skipping the batch would lose its events without a trace."""


class _Wait(NamedTuple):
    offset: int
    description: str


class Unreadable:
    """The waiting partitions of one role; written by the thread that fetches, and read by others."""

    def __init__(self, consumer: str, kafka: Cluster) -> None:
        self._kafka = kafka
        self._gauge = metrics.UNREADABLE.labels(consumer)
        self._gauge.set(0)
        self._known: dict[TP, _Wait] = {}

    @property
    def detail(self) -> str:
        """The partitions in words; empty while all can be read."""
        return "; ".join(each.description for each in self._known.copy().values())

    def note(self, place: TP, offset: int, error: BaseException) -> None:
        """Log that a partition waits at this offset, and note it until its records are read."""
        topic, why = self._kafka.ours(place.topic), described(error)
        log.error("worker_waiting", reason=UNREADABLE, topic=topic, partition=place.partition, offset=offset, error=why)
        self._known[place] = _Wait(offset, f"{topic}, partition {place.partition}, offset {offset}: {why}")
        self._gauge.set(len(self._known))

    def forget_read(self, fetched: RecordMap) -> None:
        """Forget partitions whose fetched records have reached the offset at which they waited."""
        if self._known:
            for place, records in fetched.items():
                if (known := self._known.get(place)) and records[-1].offset >= known.offset:
                    self.forget(place)

    def forget(self, place: TP) -> None:
        """Forget a partition that no longer waits."""
        if self._known.pop(place, None):
            self._gauge.set(len(self._known))

    def clear(self) -> None:
        """Forget all, since the partitions are assigned again: the process that gets one notes it again."""
        self._known.clear()
        self._gauge.set(0)
