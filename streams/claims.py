"""
Claims of a worker on rows, and how long each of them lasts.

A claim in the database is short and renewed while the work goes on, so that what a worker had that died is soon another's.
A worker that was stopped looks here, right before it sends anything, whether it has been overtaken meanwhile.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final
from uuid import UUID

from runtime.heartbeat import now
from runtime.sessions import SPOKEN

LEASES: Final = 1.5
"""How long a claim is, in leases: one that is renewed in time outlasts a short absence of Postgres."""


class ClaimOver(Exception):
    """Another worker may have taken it by now: it must not be sent from here."""


class Claims:
    """The claims of one dispatcher, by a clock that goes on while the process is stopped."""

    def __init__(self, lease: timedelta) -> None:
        self.duration: Final = lease * LEASES
        self.every: Final = lease / SPOKEN
        """How often they are to be renewed."""
        self._until: dict[UUID, float] = {}
        self._renew_at = 0.0

    @property
    def due(self) -> bool:
        """Return true when it is time to renew them."""
        return bool(self._until) and now() >= self._renew_at

    def take(self, ids: Iterable[UUID], asked_at: float) -> None:
        """Record that these were claimed or renewed by a statement that was sent at that time of `runtime.heartbeat.now`."""
        self._until |= dict.fromkeys(ids, asked_at + self.duration.total_seconds())
        self._renew_at = asked_at + self.every.total_seconds()

    def drop(self, claimed: UUID) -> None:
        """Drop the claim, since the work is over."""
        self._until.pop(claimed, None)

    def check(self, claimed: UUID) -> None:
        """Raise ClaimOver unless it is this worker's still."""
        if now() >= self._until.get(claimed, 0.0):
            raise ClaimOver
