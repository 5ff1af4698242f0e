"""
Claims of a worker on rows, and how long each of them lasts.

A claim in the database is short and renewed while the work goes on, so that the rows of a dead worker are soon another's. Right
before it sends anything, a worker checks here whether it was stopped for so long that another one may have taken over.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from uuid import UUID

from runtime.heartbeat import now
from runtime.sessions import SPOKEN

LEASES: Final = 1.5
"""The length of a claim, in leases: one that is renewed in time outlasts a short absence of Postgres."""


class ClaimOver(Exception):
    """Another worker may have claimed the row by now: it must not be sent from here."""


class Claims:
    """The claims of one dispatcher, by a clock that goes on while the process is stopped."""

    def __init__(self, lease: timedelta) -> None:
        self.duration: Final = lease * LEASES
        self.every: Final = lease / SPOKEN
        """The time between two renewals."""
        self._until: dict[UUID, float] = {}
        self._renew_at = 0.0

    @property
    def due(self) -> bool:
        """Return whether it is time to renew them."""
        return bool(self._until) and now() >= self._renew_at

    def take(self, ids: Iterable[UUID], asked_at: float) -> None:
        """Add rows that were claimed by a statement which was sent at that time of `runtime.heartbeat.now`."""
        if not self._until:  # else those that are held already are to be renewed before
            self._renew_at = asked_at + self.every.total_seconds()
        self._until |= dict.fromkeys(ids, asked_at + self.duration.total_seconds())

    def renew(self, ids: Iterable[UUID], asked_at: float) -> None:
        """Extend the claims of these, which were renewed by a statement that was sent at that time."""
        self._until |= dict.fromkeys(ids, asked_at + self.duration.total_seconds())
        self._renew_at = asked_at + self.every.total_seconds()

    def drop(self, claimed: UUID) -> None:
        """Remove a row whose work is over."""
        self._until.pop(claimed, None)

    def check(self, claimed: UUID) -> None:
        """Raise ClaimOver unless the row still is this worker's."""
        if now() >= self._until.get(claimed, 0.0):
            raise ClaimOver
