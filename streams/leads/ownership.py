"""
The partners that this worker delivers to, while other leads workers deliver to the others.

One partner has one worker at a time, so that its cap, its breaker and a pause that its CRM asked for hold however many run.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

from outbox.append import shard_of
from outbox.shards import LEADS_WORKERS, Shards
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat
from runtime.lease import Lease
from runtime.service import Service
from runtime.sessions import DEFAULT_LEASE

_EVERY: Final = timedelta(seconds=1)


class Ownership:
    """
    The partners of one worker, held by the locks of a lease.

    What a dead worker had is free at once, and what a hanging one had when the lease is over. `heartbeat` is that of the loop
    that delivers.
    """

    def __init__(
        self, database_url: str, heartbeat: Heartbeat, every: timedelta = _EVERY, *, lease: timedelta = DEFAULT_LEASE
    ) -> None:
        self._database_url = database_url
        self._heartbeat = heartbeat
        self._every = every.total_seconds()
        self._duration = lease
        self._lease: Lease | None = None
        self._shards: frozenset[int] = frozenset()

    def holds(self, partner: str) -> bool:
        """Return whether attempts to the partner may begin here."""
        return shard_of(partner) in self._shards and self._lease is not None and self._lease.held

    def keeping(self, busy: Callable[[], Collection[str]]) -> Service:
        """Return the service that takes free shards up to the fair share, and gives back surplus ones that are not `busy`."""

        async def hold_lease() -> float:
            lease = Lease(self._database_url, "leads share", self._duration, self._heartbeat)
            try:
                await asyncio.to_thread(lease.open)
                self._lease = lease
                await self._keep(lease, Shards(lease.connection, LEADS_WORKERS), busy)
            finally:
                self._lease, self._shards = None, frozenset()
                await asyncio.to_thread(lease.close)
            return self._every

        failures = Failures("leads share", postponed="share_lost", longest_away=self._every)
        return Service("leads share", hold_lease, failures)

    async def _keep(self, lease: Lease, shards: Shards, busy: Callable[[], Collection[str]]) -> None:
        await asyncio.to_thread(shards.join)
        while True:
            lease.check()
            surplus = frozenset(await asyncio.to_thread(shards.surplus))
            self._shards = frozenset(shards.owned) - surplus
            if idle := surplus - {shard_of(partner) for partner in busy()}:
                await asyncio.to_thread(shards.release, [*idle])
            await asyncio.sleep(self._every)
