"""
Where Kafka has lost records that a consumer had not read: by what is committed, where logs begin and end, and where they did.

Retention, a lost disk or an operator may take a log's beginning; a broker that comes back with an older disk, its end; a topic
that is made anew has neither. A consumer that finds its place gone goes on elsewhere, and says nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from outbox.offsets import Place, Span


class Loss(NamedTuple):
    """
    Records of a partition, from an offset to, but without, another, that a consumer had not read and Kafka has no more.

    `anew` where the log lost its end, so that offsets count again: what was sent again before may be gone too.
    """

    consumer: str
    place: Place
    from_offset: int
    until_offset: int
    anew: bool = False

    @property
    def number(self) -> int:
        """How many records, at most: some of them may have been read."""
        return self.until_offset - self.from_offset

    def __str__(self) -> str:
        return f"{self.place.topic}/{self.place.partition} from {self.from_offset} to {self.until_offset}"


class Seen(NamedTuple):
    """A topic as it was seen: Kafka's id of it, and the ends of its partitions in their order."""

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
    What one consumer has lost in the partitions that it reads.

    Where it never committed it has read nothing: it begins at the beginning, which then was 0.
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
