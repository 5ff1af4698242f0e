"""
The leads worker: its handler, the services beside it, and its share of the partners.

Each partner has one worker at a time, so that its cap, its breaker and a pause that its CRM requested apply however many run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from outbox.append import shard_of
from outbox.clock import ServerClock
from outbox.shards import LEADS_WORKERS, Shards
from projections.config_view import following
from projections.leads import DUE_CHANNEL
from projections.roster import Roster, followed
from runtime.database import Pool
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat
from runtime.lease import Lease
from runtime.service import Service
from runtime.sessions import DEFAULT_LEASE
from streams.due import wake_listener
from streams.leads.crm import opened_crm
from streams.leads.decisions import Policy
from streams.leads.dispatcher import Dispatcher, Limits
from streams.leads.handler import LeadsHandler
from streams.replays import after_replays
from streams.role import Role, Running
from streams.settings import LeadSettings

_EVERY: Final = timedelta(seconds=1)
_ALONE_FACTOR: Final = 5
"""The factor by which a worker that is alone looks less often: no other one can die, and a new one loses nothing by waiting."""


class Ownership:
    """
    The partners of one worker, held by the locks of a lease.

    The partners of a dead worker are free at once, those of a hanging one when its lease ends. `heartbeat` is that of the loop
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

    def keeping(self, busy: Callable[[], Collection[str]], changed: Callable[[], object] = lambda: None) -> Service:
        """
        Return the service that takes free shards up to the fair share, and gives back surplus ones that are not `busy`.

        It calls `changed` when the worker's partners have changed.
        """

        async def hold_lease() -> float:
            lease = Lease(self._database_url, "leads share", self._duration, self._heartbeat)
            try:
                await asyncio.to_thread(lease.open)
                self._lease = lease
                await self._keep(lease, Shards(lease.connection, LEADS_WORKERS), busy, changed)
            finally:
                self._lease, self._shards = None, frozenset()
                await asyncio.to_thread(lease.close)
            return self._every

        failures = Failures("leads share", postponed="share_lost", longest_away=self._every)
        return Service("leads share", hold_lease, failures)

    async def _keep(
        self, lease: Lease, shards: Shards, busy: Callable[[], Collection[str]], changed: Callable[[], object]
    ) -> None:
        await asyncio.to_thread(shards.join)
        while True:
            lease.check()
            surplus = frozenset(await asyncio.to_thread(shards.surplus))
            before, self._shards = self._shards, frozenset(shards.owned) - surplus
            if self._shards != before:
                changed()
            if idle := surplus - {shard_of(partner) for partner in busy()}:
                await asyncio.to_thread(shards.release, [*idle])
            await asyncio.sleep(self._every * (_ALONE_FACTOR if shards.members == 1 and not surplus else 1))


_CHECK_EVERY: Final = 0.1  # seconds between two checks that the clock and the partners have been read


@asynccontextmanager
async def _opened(settings: LeadSettings, pool: Pool) -> AsyncIterator[Running]:
    partners = Roster.of(settings)
    settings.on_change(partners.follow, "partners", "secret_keys")
    clock = ServerClock()  # a worker whose clock is ahead would claim leads that another one is still delivering
    async with (
        opened_crm(settings.lead_timeout, settings.outbound_allow, clock.now) as crm,
        following(settings.database_url) as config,
        followed(partners, settings.database_url),
    ):
        heartbeat = Heartbeat("deliveries")
        ownership = Ownership(settings.database_url, heartbeat, lease=settings.lock_lease)
        read_again = after_replays(LeadsHandler.consumer, pool, settings.kafka)

        async def hold() -> float:
            # A partner that has not been read yet must not be taken for one that does not exist.
            return await read_again() if clock.known and partners.read.is_set() else _CHECK_EVERY

        dispatcher = Dispatcher(
            pool,
            crm,
            partners,
            limits_of(settings),
            config,
            holds=ownership.holds,
            heartbeat=heartbeat,
            hold=hold,
            now=clock.now,
        )
        listener = wake_listener(settings.database_url, DUE_CHANNEL, dispatcher)
        for view in (config, partners):
            view.on_read(dispatcher.wake)
        services = (clock.reading(pool), ownership.keeping(dispatcher.busy, dispatcher.wake), listener, dispatcher)
        yield Running(LeadsHandler(), services, (heartbeat,))


def limits_of(settings: LeadSettings) -> Limits:
    return Limits(
        policy=Policy(settings.lead_max_attempts, settings.lead_retry_base, settings.lead_retry_max),
        timeout=settings.lead_timeout,
        cap=settings.lead_partner_concurrency,
        size=settings.lead_bytes,
        breaker_threshold=settings.lead_breaker_failures,
        breaker_cooldown=settings.lead_breaker_cooldown,
        breaker_longest=settings.lead_probe_max,
        poll=settings.lead_poll,
        lease=settings.lock_lease,
    )


LEADS: Final = Role(LeadsHandler.consumer, _opened, LeadSettings)
