"""The leads worker: its handler, and the services beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from outbox.clock import ServerClock
from projections.config_view import following
from runtime.database import Pool
from runtime.heartbeat import Heartbeat
from streams.due import hearing
from streams.leads.crm import opened_crm
from streams.leads.decisions import Policy
from streams.leads.dispatcher import Dispatcher, Limits
from streams.leads.handler import LeadsHandler
from streams.leads.ownership import Ownership
from streams.leads.store import DUE_CHANNEL
from streams.replays import after_replays
from streams.role import Role, Running
from streams.settings import LeadSettings

_UNTIL_KNOWN: Final = 0.1  # seconds between two looks whether the clock has been read


@asynccontextmanager
async def _opened(settings: LeadSettings, pool: Pool) -> AsyncIterator[Running]:
    clock = ServerClock()  # a worker whose clock is ahead would take over what another one is still delivering
    async with (
        opened_crm(settings.lead_timeout, settings.outbound_allow, clock.now) as crm,
        following(settings.database_url) as config,
    ):
        heartbeat = Heartbeat("deliveries")
        ownership = Ownership(settings.database_url, heartbeat, lease=settings.lock_lease)
        read_again = after_replays(LeadsHandler.consumer, pool, settings.kafka)

        async def hold() -> float:
            return await read_again() if clock.known else _UNTIL_KNOWN

        dispatcher = Dispatcher(
            pool,
            crm,
            settings.partners,
            limits_of(settings),
            config,
            holds=ownership.holds,
            heartbeat=heartbeat,
            hold=hold,
            now=clock.now,
        )
        settings.on_change(lambda newest: dispatcher.know(newest.partners))
        heard = hearing(settings.database_url, DUE_CHANNEL, dispatcher)
        services = (clock.reading(pool), ownership.keeping(dispatcher.busy), heard, dispatcher)
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
