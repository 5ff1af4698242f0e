"""The leads worker put together: the handler, and the dispatcher beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from outbox.clock import ServerClock
from projections.config_view import following
from runtime.database import Pool
from runtime.heartbeat import Heartbeat
from streams.leads.crm import opened_crm
from streams.leads.decisions import Policy
from streams.leads.dispatcher import Dispatcher, Limits
from streams.leads.handler import LeadsHandler
from streams.leads.share import Share
from streams.replays import after_replays
from streams.role import Role, Running
from streams.settings import LeadSettings


@asynccontextmanager
async def _opened(settings: LeadSettings, pool: Pool) -> AsyncIterator[Running]:
    clock = ServerClock()  # a worker whose clock is ahead would take over what another one is still delivering
    async with (
        opened_crm(settings.lead_timeout, settings.outbound_allow, clock.now) as crm,
        following(settings.database_url) as config,
    ):
        heartbeat = Heartbeat("deliveries")
        share = Share(settings.database_url, heartbeat, lease=settings.lock_lease)
        limits, partners = limits_of(settings), settings.partners
        dispatcher = Dispatcher(pool, crm, partners, limits, config, holds=share.holds, heartbeat=heartbeat, now=clock.now)

        async def dispatch() -> None:
            await clock.until_known()
            await dispatcher.run()

        deliver = after_replays(LeadsHandler.consumer, pool, settings.kafka, dispatch)
        loops = (lambda: clock.keep(pool), lambda: share.keep(dispatcher.busy), deliver)
        yield Running(LeadsHandler(), loops, (heartbeat,))


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
