"""Gaps between the records that a worker reads: Kafka has lost the records in them."""

from collections.abc import Callable, Sequence

from outbox.losses import Loss
from outbox.offsets import Place
from streams.records import Record


class Continuity:
    """
    A continuity follows the offsets of one assignment of partitions.

    Nothing here is transactional or compacted, so offsets follow one another: a jump ahead is records that are gone, and one
    back is a log that has begun anew.
    """

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer
        self._next: dict[Place, int] = {}

    def follow(self, records: Sequence[Record], committed: Callable[[Place], int | None]) -> list[Loss]:
        """
        Return the losses before and between these records, which come in the order of each partition.

        The first record of a partition should have the offset that was committed.
        """
        found: list[Loss] = []
        place, expected = Place("", -1), 0
        for record in records:
            if record.partition != place.partition or record.topic != place.topic:
                self._next[place] = expected
                place = Place(record.topic, record.partition)
                known = self._next.get(place)
                expected = (committed(place) or 0) if known is None else known
            if record.offset > expected:
                found.append(Loss(self._consumer, place, expected, record.offset))
            elif record.offset < expected:
                found.append(Loss(self._consumer, place, 0, expected, anew=True))
            expected = record.offset + 1
        self._next[place] = expected
        return found
