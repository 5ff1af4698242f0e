"""
The partners that this worker delivers to, while other leads workers deliver to the others.

One partner has one worker at a time, so that its cap, its breaker and a pause that its CRM asked for hold however many run.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

import psycopg
import structlog

from outbox.append import shard_of
from outbox.shards import LEADS_WORKERS, Shards
from runtime.database import UNAVAILABLE

log = structlog.get_logger()

_EVERY: Final = timedelta(seconds=1)


class Share:
    """Held by advisory locks of a connection of its own; what a worker that died had is free at once."""

    def __init__(self, database_url: str, every: timedelta = _EVERY) -> None:
        self._database_url = database_url
        self._every = every.total_seconds()
        self._shards: frozenset[int] = frozenset()

    def holds(self, partner: str) -> bool:
        """Whether attempts to the partner may begin here."""
        return shard_of(partner) in self._shards

    async def keep(self, busy: Callable[[], Collection[str]]) -> None:
        """For ever: take what is free up to the fair share, and give back the rest as soon as nothing of it is `busy`."""
        while True:
            try:
                with await asyncio.to_thread(self._connect) as connection:
                    await self._keep(Shards(connection, LEADS_WORKERS), busy)
            except UNAVAILABLE as error:
                log.warning("share_lost", reason="postgres_unavailable", error=str(error).strip()[:500])
            finally:
                self._shards = frozenset()
            await asyncio.sleep(self._every)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._database_url, autocommit=True, application_name="tallyhook leads share", connect_timeout=5)

    async def _keep(self, shards: Shards, busy: Callable[[], Collection[str]]) -> None:
        await asyncio.to_thread(shards.join)
        while True:
            surplus = frozenset(await asyncio.to_thread(shards.surplus))
            self._shards = frozenset(shards.owned) - surplus
            if idle := surplus - {shard_of(partner) for partner in busy()}:
                await asyncio.to_thread(shards.release, [*idle])
            await asyncio.sleep(self._every)
