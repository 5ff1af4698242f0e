"""
The choice of the rejected deliveries to keep, when there are more than the log has room for.

Anyone can cause a rejection. So a stranger's deliveries must not take the room of an event that we may have rejected wrongly:
deliveries with better evidence come first, and among equals the first one of each client comes before the second one of any.
"""

from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, Protocol, TypeVar
from uuid import UUID

_HELD_MAX: Final = 400
_HELD_BYTES: Final = 16 * 1024 * 1024


class Worth(IntEnum):
    """The evidence in favour of a rejected delivery."""

    UNSIGNED = 0
    """It has no signature that could ever be verified. It is only counted."""
    SIGNED = 1
    """It has a signature as the provider writes them."""
    EVENT = 2
    """It has such a signature, and its body is an event of the provider."""
    PROVEN = 3
    """A live secret has signed it; a later check has failed."""


class Candidate(Protocol):
    """A delivery that may be kept; its id is ordered by arrival."""

    @property
    def id(self) -> UUID: ...
    @property
    def client(self) -> str | None: ...
    @property
    def worth(self) -> int: ...


C = TypeVar("C", bound=Candidate)


def choose(candidates: Iterable[C], room: int) -> list[C]:
    """
    At most `room` of them, the worthiest first.

    Among those of equal worth, the first of each client come first, then the second of each, and so on, the earlier before the
    later. So a client that sends many keeps no more of them than others leave; a sender with many addresses can fill the room.
    """
    turns: Counter[tuple[int, str | None]] = Counter()
    ranked: list[tuple[int, int, UUID, C]] = []
    for candidate in sorted(candidates, key=lambda each: each.id):
        turn = (candidate.worth, candidate.client)
        ranked.append((-candidate.worth, turns[turn], candidate.id, candidate))
        turns[turn] += 1
    return [candidate for *_, candidate in sorted(ranked, key=lambda each: each[:3])[:room]]


class Sized(Candidate, Protocol):
    """A candidate that takes memory while it waits."""

    @property
    def size(self) -> int: ...


S = TypeVar("S", bound=Sized)


class Shortlist(list[S]):
    """Candidates in memory, bounded in number and bytes: the least worthy are removed."""

    def __init__(self, rows: Iterable[S] = ()) -> None:
        super().__init__(rows)
        self._bytes = sum(row.size for row in self)

    def offer(self, row: S) -> list[S]:
        """Add a candidate; returns the removed ones. Half are removed at once, so that a flood does not sort each time."""
        self.append(row)
        self._bytes += row.size
        if len(self) <= _HELD_MAX and self._bytes <= _HELD_BYTES:
            return []
        kept: list[S] = []
        left = _HELD_BYTES // 2
        for best in choose(self, _HELD_MAX // 2):
            if best.size <= left:
                kept.append(best)
                left -= best.size
        ids = {each.id for each in kept}
        gone = [each for each in self if each.id not in ids]
        self[:] = kept
        self._bytes = _HELD_BYTES // 2 - left
        return gone
