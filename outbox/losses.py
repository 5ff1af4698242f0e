"""
Records that Kafka has lost before a consumer read them, by its commits and by the ends of the logs now and before.

Retention, a lost disk or an operator may remove the beginning of a log; a broker that comes back with an older disk, its end; a
topic that is created again has neither. A consumer that finds its place gone continues elsewhere, and reports nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from outbox.offsets import Place, Span


class Loss(NamedTuple):
    """
    Records of a partition, from an offset to, but without, another, that Kafka lost before a consumer read them.

    `anew` is true if the log lost its end, so that offsets are reused: records that were sent again before may be gone too.
    """

    consumer: str
    place: Place
    from_offset: int
    until_offset: int
    anew: bool = False

    @property
    def number(self) -> int:
        """The largest possible number of lost records: some of them may have been read."""
        return self.until_offset - self.from_offset

    def __str__(self) -> str:
        return f"{self.place.topic}/{self.place.partition} from {self.from_offset} to {self.until_offset}"


class Seen(NamedTuple):
    """One look at a topic: Kafka's id of it, and the ends of its partitions in their order."""

    topic_id: str
    ends: Sequence[int]

    def end(self, partition: int) -> int:
        return self.ends[partition] if partition < len(self.ends) else 0


def losses_of(
    consumer: str,
    spans: Mapping[Place, Span],
    committed: Mapping[Place, int],
    before: Mapping[str, Seen],
    now: Mapping[str, Seen],
) -> Iterator[Loss]:
    """
    Find the losses of one consumer in the partitions that it reads.

    A consumer that never committed has read nothing: it begins at the beginning, which was 0 then.
    """
    for place, span in spans.items():
        was, at = before.get(place.topic), committed.get(place, 0)
        if was and place.topic in now and was.topic_id != now[place.topic].topic_id:
            if reached := max(was.end(place.partition), at):
                yield Loss(consumer, place, 0, reached, anew=True)
        elif at > span.end:
            yield Loss(consumer, place, 0, at, anew=True)
        elif was and was.end(place.partition) > span.end:
            yield Loss(consumer, place, span.end, was.end(place.partition), anew=True)
        elif at < span.begin:
            yield Loss(consumer, place, at, span.begin)
