"""Read records of a range of the log without a group, so that no committed offsets change."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from outbox.errors import BrokerError
from outbox.errors import Reason as BrokerReason
from outbox.offsets import Place
from runtime.kafka import Cluster
from streams.records import Record, headers_of

_BATCH: Final = 2000
_BATCH_BYTES: Final = 4 * 1024 * 1024  # a batch may exceed this by one piece
_PIECE: Final = 50
_FETCHED_KIB: Final = 16 * 1024  # the read-ahead of the client over all partitions
_PATIENCE: Final = 30.0  # seconds without a record


class OffsetRange(NamedTuple):
    """Offsets from `start` up to `stop`, excluding `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return max(0, self.stop - self.start)


class _Wanted(NamedTuple):
    """The range of a partition; the topic may have another name on the cluster."""

    place: Place
    offsets: OffsetRange


_Left = dict[tuple[str, int], _Wanted]


def read(kafka: Cluster, ranges: Mapping[Place, OffsetRange], batch: int = _BATCH) -> Iterator[list[Record]]:
    """
    Yield every record of the ranges in batches, in the order of each partition.

    Raises BrokerError if Kafka becomes unavailable.
    """
    left = {
        (kafka.named(place.topic), place.partition): _Wanted(place, offsets)
        for place, offsets in ranges.items()
        if offsets.length
    }
    consumer = Consumer(
        kafka.client
        | {
            "group.id": kafka.named("tallyhook-reader"),  # required by the client; it is never joined, and nothing is committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "queued.max.messages.kbytes": _FETCHED_KIB,
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(*place, wanted.offsets.start) for place, wanted in left.items()])
        yield from _rounds(consumer, left, batch)
    finally:
        consumer.close()


def _rounds(consumer: Consumer, left: _Left, batch: int) -> Iterator[list[Record]]:
    last_at = time.monotonic()
    while left:
        messages = _consume(consumer, batch)
        if messages:
            last_at = time.monotonic()
        elif time.monotonic() - last_at > _PATIENCE:
            raise BrokerError(BrokerReason.KAFKA_UNAVAILABLE, f"no record has arrived from Kafka within {_PATIENCE:g} s")
        if records := [record for message in messages if (record := _take(consumer, left, message)) is not None]:
            yield records


def _consume(consumer: Consumer, batch: int) -> list[Any]:
    """Read the next records, up to a number and up to a size."""
    found: list[Any] = []
    size = 0
    while (room := min(_PIECE, batch - len(found))) and size < _BATCH_BYTES:
        came = consumer.consume(room, timeout=0.1)
        found += came
        size += sum(len(message.value() or b"") for message in came)
        if len(came) < room:
            break
    return found


def _take(consumer: Consumer, left: _Left, message: Any) -> Record | None:
    """Return the record if it is in a range; stop reading a partition at the end of its range."""
    place = message.topic(), message.partition()
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  # the client's name for it
        if error.retriable() or error.code() == KafkaError._TRANSPORT:  # noqa: SLF001  # same
            return None
        raise BrokerError(BrokerReason.KAFKA_REFUSED, f"Kafka refuses to return records of {place[0]} {place[1]}: {error.str()}")
    wanted = left.get(place)
    if wanted is None:
        return None
    stop = wanted.offsets.stop
    if error is not None or message.offset() >= stop - 1:
        del left[place]
        consumer.incremental_unassign([TopicPartition(*place)])
    if error is not None or message.offset() >= stop:
        return None
    return Record(*wanted.place, message.offset(), message.key(), message.value(), headers_of(message))
