"""
The partners that this worker delivers to, while other leads workers deliver to the others.

One partner has one worker at a time, so that its cap, its breaker and a pause that its CRM asked for hold however many run.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

import structlog

from outbox.append import shard_of
from outbox.shards import LEADS_WORKERS, Shards
from runtime.database import UNAVAILABLE
from runtime.excerpts import excerpt_of
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat
from runtime.lease import Lease, LeaseLost
from runtime.sessions import DEFAULT_LEASE

log = structlog.get_logger()

_EVERY: Final = timedelta(seconds=1)


class Share:
    """
    Held by the locks of a lease: what a worker had that died is free at once, and what one had that hangs when the lease is over.

    `heartbeat` is that of the loop that delivers.
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
        """Whether attempts to the partner may begin here."""
        return shard_of(partner) in self._shards and self._lease is not None and self._lease.held

    async def keep(self, busy: Callable[[], Collection[str]]) -> None:
        """For ever: take what is free up to the fair share, and give back the rest as soon as nothing of it is `busy`."""
        failures = Failures("leads share")
        while True:
            pause = self._every
            try:
                lease = Lease(self._database_url, "leads share", self._duration, self._heartbeat)
                try:
                    await asyncio.to_thread(lease.open)
                    self._lease = lease
                    await self._keep(lease, Shards(lease.connection, LEADS_WORKERS), busy)
                finally:
                    self._lease = None
                    await asyncio.to_thread(lease.close)
            except UNAVAILABLE as error:
                reason = error.reason if isinstance(error, LeaseLost) else "postgres_unavailable"
                log.warning("share_lost", reason=reason, error=excerpt_of(error))
                failures.passed()
            except Exception as error:  # noqa: BLE001  # without a share nothing would be delivered by anybody
                pause = failures.note(error)
            finally:
                self._shards = frozenset()
            await asyncio.sleep(pause)

    async def _keep(self, lease: Lease, shards: Shards, busy: Callable[[], Collection[str]]) -> None:
        await asyncio.to_thread(shards.join)
        while True:
            lease.check()
            surplus = frozenset(await asyncio.to_thread(shards.surplus))
            self._shards = frozenset(shards.owned) - surplus
            if idle := surplus - {shard_of(partner) for partner in busy()}:
                await asyncio.to_thread(shards.release, [*idle])
            await asyncio.sleep(self._every)
