"""A topic for the measurements: its end offsets, the time at which records can be read, and the records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.figures import Void

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LOOK_EVERY: Final = 0.01  # seconds
_AT_ONCE: Final = 2000
_SILENT: Final = 60.0  # seconds without a record after which missing records are given up
_CRITICAL: Final = 2
"""The log level of librdkafka: a missing broker raises an exception, and need not be logged on stderr as well."""

Offsets = dict[int, int]
"""By partition."""


class Span(NamedTuple):
    """The times (monotonic clock) at which the first and the last awaited record could be read, and the number in between."""

    first: float
    last: float
    between: int

    @property
    def rate(self) -> float:
        """Records a second after the first check that found any; it does not count those of that check, whose time is unknown."""
        return self.between / (self.last - self.first)


class Topic:
    """One topic of one broker."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.name = name
        self._bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": _CRITICAL})
        self._partitions = [*self._admin.list_topics(name, timeout=10).topics[name].partitions]

    def starts(self) -> Offsets:
        """Return the start offsets of a topic from which nothing has been removed."""
        return dict.fromkeys(self._partitions, 0)

    def ends(self) -> Offsets:
        wanted = {TopicPartition(self.name, number): OffsetSpec.latest() for number in self._partitions}
        return {place.partition: found.result().offset for place, found in self._admin.list_offsets(wanted).items()}

    def until_led(self, limit: float) -> None:
        """Wait until each partition has a leader again: a broker listens before that when it starts."""
        deadline = time.monotonic() + limit
        while True:
            try:
                self.ends()
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise Void(f"{self.name} has no leaders after {limit:.0f} s: {error}") from error
                time.sleep(_LOOK_EVERY)
            else:
                return

    def until_readable(self, after: Offsets, number: int, limit: float, check: Callable[[], None]) -> Span:
        """Watch the end offsets until `number` more records can be read; `check` raises if further waiting is useless."""
        before, started = sum(after.values()), time.monotonic()
        first, at_first, looked = 0.0, 0, started
        while True:
            have, now = sum(self.ends().values()) - before, time.monotonic()
            if have and not first:  # all of them in one check: they came since the check before
                first, at_first = (now, have) if have < number else (looked, 0)
            if have >= number:
                return Span(first, now, have - at_first)
            looked = now
            if now - started > limit:
                raise Void(f"only {have:,} of {number:,} records came to {self.name} within {limit:.0f} s")
            check()
            time.sleep(_LOOK_EVERY)

    def records(self, after: Offsets) -> Iterator[Message]:
        """Yield the records from `after` to the current ends, each partition in order. Raises Void if some do not arrive."""
        missing = sum(self.ends().values()) - sum(after.values())
        if not missing:
            return
        last_arrival = time.monotonic()
        for message in self.arriving(after):
            if message is None:
                if time.monotonic() - last_arrival > _SILENT:
                    raise Void(f"{missing:,} records of {self.name} could not be read within {_SILENT:.0f} s")
                continue
            yield message
            last_arrival = time.monotonic()
            missing -= 1
            if not missing:
                return

    def arriving(self, after: Offsets) -> Iterator[Message | None]:
        """Yield records as soon as they can be read, without an end, and None in between, so that the reader can give up."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": f"benchmark-{uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.min.bytes": 1,
                "fetch.wait.max.ms": 500,
            }
        )
        try:
            consumer.assign([TopicPartition(self.name, number, offset) for number, offset in after.items()])
            while True:
                # Take one record alone first: waiting for a second one would count as latency of the first.
                found = consumer.consume(1, timeout=0.1)
                found += consumer.consume(_AT_ONCE, timeout=0) if found else []
                for message in found:
                    if (error := message.error()) is not None:
                        raise KafkaException(error)
                    yield message
                yield None
        finally:
            consumer.close()


def header(message: Message, name: str) -> str | None:
    """Return the text of a header, or None if the record has no such header."""
    for known, value in message.headers() or ():
        if known == name and value is not None:
            return value.decode() if isinstance(value, bytes) else value
    return None
