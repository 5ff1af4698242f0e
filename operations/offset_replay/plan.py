"""The plan of a replay: pure functions of the offsets of the log and of the group."""

from collections.abc import Mapping
from typing import NamedTuple

from operations.errors import OperationError, Reason
from operations.offset_replay.bounds import Beginning, End, Numbers, Start, Stop
from outbox.offsets import Group, Place, Span


class Move(NamedTuple):
    """
    The move of one partition: `target` is the offset that is read next, `until` the first one that had never been read.

    They are equal if nothing is read again.
    """

    place: Place
    span: Span
    committed: int
    target: int
    until: int


class Positions(NamedTuple):
    """
    The offsets of the topic's log and of the group.

    `at` has the offsets of the bound if it is a time; `unfinished` has the ends of earlier replays that the group has not reached
    yet.
    """

    topic: str
    spans: Mapping[Place, Span]
    group: Group
    at: Mapping[Place, int]
    unfinished: Mapping[Place, int]


def moves_of(start: Start, positions: Positions) -> list[Move]:
    """
    Return a move for every partition that the group has read. No move goes forward, so no unread record is skipped.

    Raises OperationError `never_read`, `events_skipped`, and those of `wanted_of`.
    """
    wanted = wanted_of(start, positions)
    moves: list[Move] = []
    for place, span in sorted(positions.spans.items()):
        committed = positions.group.committed.get(place)
        if committed is None:
            if isinstance(start, Numbers) and place in wanted:
                raise OperationError(
                    Reason.NEVER_READ,
                    f"{positions.group.name} has not read partition {place.partition} yet: its worker begins at the start",
                )
            continue
        until = max(committed, positions.unfinished.get(place, 0))
        target = wanted.get(place, committed)
        if target > until and isinstance(start, Numbers):
            raise OperationError(
                Reason.EVENTS_SKIPPED,
                f"{positions.group.name} has read partition {place.partition} up to {until}: "
                f"beginning at {target} would skip events",
            )
        moves.append(Move(place, span, committed, min(target, until), until))
    return moves


def refuse_live(group: Group) -> None:
    """Refuse a group that has members. Raises OperationError `group_live`."""
    if group.live:
        members = (
            ", ".join(sorted({f"{member.client} at {member.host}" for member in group.members})) or "members that join and leave"
        )
        role = group.name.partition("-")[2]
        raise OperationError(
            Reason.GROUP_LIVE,
            f"{group.name} is {group.state}: {members}. Stop every {role} worker first; one that was killed leaves after its "
            "session time-out. Use --shadow while workers run",
        )


def wanted_of(start: Start, positions: Positions) -> dict[Place, int]:
    """
    Return the offset to begin at, by partition; it is within the log.

    Raises OperationError `partition_unknown`, `offset_outside_log`.
    """
    match start:
        case Beginning():
            return {place: span.begin for place, span in positions.spans.items()}
        case Numbers():
            return _numbered(start, positions.topic, positions.spans)
        case _:
            return dict(positions.at)


def stops_of(stop: Stop, positions: Positions) -> dict[Place, int]:
    """Return the offset to end before, by partition. Raises the same errors as `wanted_of`."""
    match stop:
        case End():
            return {place: span.end for place, span in positions.spans.items()}
        case Numbers():
            return _numbered(stop, positions.topic, positions.spans)
        case _:
            return dict(positions.at)


def _numbered(numbers: Numbers, topic: str, spans: Mapping[Place, Span]) -> dict[Place, int]:
    found: dict[Place, int] = {}
    for number, offset in numbers.offsets.items():
        place = Place(topic, number)
        if place not in spans:
            raise OperationError(Reason.PARTITION_UNKNOWN, f"{topic} has no partition {number}; it has {len(spans)}, from 0")
        span = spans[place]
        if not span.begin <= offset <= span.end:
            raise OperationError(
                Reason.OFFSET_OUTSIDE_LOG,
                f"partition {number} of {topic} holds offsets {span.begin} to {span.end}: {offset} is outside",
            )
        found[place] = offset
    return found
