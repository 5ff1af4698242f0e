"""
Claims of a worker on rows, and how long each of them lasts.

A claim in the database is short and is renewed while the work goes on, so that another worker soon takes over the rows of a
dead one. Right before it sends anything, a worker checks here whether it was stopped for so long that another may have taken
over.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from uuid import UUID

from runtime.heartbeat import now
from runtime.sessions import KEEPALIVES

LEASES: Final = 1.5
"""The length of a claim, in leases: a claim that is renewed in time outlasts a short outage of Postgres."""


class ClaimOver(Exception):
    """Another worker may have claimed the row by now: it must not be sent from here."""


class Claims:
    """The claims of one dispatcher, by a clock that goes on while the process is stopped."""

    def __init__(self, lease: timedelta) -> None:
        self.duration: Final = lease * LEASES
        self.renew_every: Final = lease / KEEPALIVES
        """The time between two renewals."""
        self._until: dict[UUID, float] = {}
        self._renew_at = 0.0

    @property
    def due(self) -> bool:
        """Return true if it is time to renew the claims."""
        return bool(self._until) and now() >= self._renew_at

    def take(self, ids: Iterable[UUID], sent_at: float) -> None:
        """Add rows that were claimed by a statement which was sent at that time of `runtime.heartbeat.now`."""
        if not self._until:  # otherwise the claims that are held already have to be renewed earlier
            self._renew_at = sent_at + self.renew_every.total_seconds()
        self._until |= dict.fromkeys(ids, sent_at + self.duration.total_seconds())

    def renew(self, ids: Iterable[UUID], sent_at: float) -> None:
        """Extend the claims on these rows, which were renewed by a statement that was sent at that time."""
        self._until |= dict.fromkeys(ids, sent_at + self.duration.total_seconds())
        self._renew_at = sent_at + self.renew_every.total_seconds()

    def drop(self, claimed: UUID) -> None:
        """Remove a row whose work is over."""
        self._until.pop(claimed, None)

    def check(self, claimed: UUID) -> None:
        """Raise ClaimOver unless this worker's claim on the row still holds."""
        if now() >= self._until.get(claimed, 0.0):
            raise ClaimOver
