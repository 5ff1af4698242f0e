"""
The choice of the rejected deliveries to keep, when there are more than the log has room for.

Anyone can cause a rejection. So a stranger's deliveries must not take the room of an event that we may have judged wrongly:
better proofs come first, and among equals every client has its turn before one has a second.
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
    """Nothing: no signature that could ever be verified. It is only counted."""
    SIGNED = 1
    """It has a signature as the provider writes them."""
    EVENT = 2
    """So it has, and its body is an event of the provider."""
    PROVEN = 3
    """A live secret has signed it; what was wrong came after that."""


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

    Of equal worth are first the first of each client, then the second of each, and so on; of these the earlier. So a client that
    sends many keeps no more of them than others leave, and who has as many addresses as there is room can still fill it.
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


class Waiting(list[S]):
    """Candidates in memory, bounded in number and bytes by leaving the least worthy out."""

    def __init__(self, rows: Iterable[S] = ()) -> None:
        super().__init__(rows)
        self._bytes = sum(row.size for row in self)

    def offer(self, row: S) -> list[S]:
        """Take it in; returns what had to go for it. Half goes at once, so that a flood does not sort with every delivery."""
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
