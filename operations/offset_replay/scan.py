"""Counts the records that would be read again: how many have had their effects, and how many would have them now."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from operations.errors import OperationError, Reason
from outbox.offsets import Place
from runtime.ids import time_of
from streams.records import Record, id_of


@dataclass
class Count:
    """
    The counts of one partition.

    `marked` events change nothing when they are read again, and `fresh` ones would be handled. `unreadable` records are not
    events; each would become one dead letter.
    """

    records: int = 0
    marked: int = 0
    fresh: int = 0
    unreadable: int = 0
    unmarkable: list[tuple[int, datetime]] = field(default_factory=list)
    """Offset and time of the first and the last event whose day has no marks."""
    ids: set[UUID] = field(default_factory=set)
    """The ids of the fresh events."""


Marked = Callable[[Sequence[UUID]], set[UUID]]


def count(
    batches: Iterable[Sequence[Record]], marked: Marked, days: Collection[date], progress: Callable[[int], object]
) -> dict[Place, Count]:
    """Count all records; `marked` returns which of some events the consumer has handled."""
    counts: dict[Place, Count] = {}
    seen: set[UUID] = set()
    for batch in batches:
        ids = [(record, id_of(record)) for record in batch]
        handled = marked([event_id for _, event_id in ids if event_id is not None])
        for record, event_id in ids:
            of = counts.setdefault(Place(record.topic, record.partition), Count())
            of.records += 1
            if event_id is None:
                of.unreadable += 1
            elif event_id in handled:
                of.marked += 1
            elif time_of(event_id).date() not in days:
                of.unmarkable = [*of.unmarkable[:1], (record.offset, time_of(event_id))]
            else:
                of.fresh += event_id not in seen  # the first copy of an event sets the mark that the second one finds
                of.marked += event_id in seen
                of.ids |= {event_id} - seen
                seen.add(event_id)
        progress(len(batch))
    return counts


def refuse_unmarkable(counts: dict[Place, Count], days: Collection[date]) -> None:
    """Refuse events whose day has no marks any more. Raises OperationError `range_outside_retention`."""
    found = [(place, *of.unmarkable[0], of.unmarkable[-1][0]) for place, of in sorted(counts.items()) if of.unmarkable]
    if found:
        place, offset, at, last = found[0]
        raise OperationError(
            Reason.RANGE_OUTSIDE_RETENTION,
            f"partition {place.partition} has an event of {at:%Y-%m-%d} at offset {offset}, and marks are kept from "
            f"{min(days, default='no day')}: it is unknown whether it had its effects. Begin after offset {last}, "
            "or use --shadow",
        )
