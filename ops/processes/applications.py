"""Builds the gateway: the services that it opens, and the tools of each listener. Its routes are in `routes`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.resources import files
from typing import Final, NamedTuple

from aiohttp import web
from psycopg import AsyncConnection

from console.application import add_console
from gateway.audit_log import AuditLog
from gateway.clients import Clients
from gateway.commands.idempotency import honour_key
from gateway.commands.settlements import Settlements
from gateway.days import Days
from gateway.health import CONTRACT
from gateway.keys import (
    ALLOWED_SUBJECTS,
    AUDIT,
    CACHE_ALLOW_ALL,
    COMMAND_WAIT,
    COMMANDS,
    DAYS,
    GATEKEEPER,
    INTAKE,
    LOOPS,
    PRESENCE,
    READS,
    SCHEMA,
    SECRET_USES,
    SENDERS,
    SETTINGS,
    SETTLEMENTS,
    SIBLINGS,
    STOPPING,
)
from gateway.masking import mask_for_readers
from gateway.middlewares import audit_call, refuse, require_token, trace_and_refuse
from gateway.parameters import check_parameters
from gateway.presence import Presence
from gateway.route import serve
from gateway.secrets.tls import require_subject
from gateway.secrets.tokens import Gatekeeper
from gateway.secrets.uses import Holders, SecretUses
from gateway.settings import GatewaySettings
from gateway.siblings import Siblings
from gateway.webhooks import leads
from gateway.webhooks.endpoints import ENDPOINT_RECEPTIONS, EndpointReceptions
from gateway.webhooks.intake import Intake
from gateway.webhooks.limiting import limit_partners, limit_rates
from gateway.webhooks.reception import RECEPTIONS, Admit, Answer, Reception, acknowledge
from gateway.webhooks.rejections import RejectedLog
from gateway.webhooks.sources.live import LiveSource, LiveSources, plain_source, unknown_source
from gateway.webhooks.sources.partner import NAME as PARTNER
from operations.deliveries import circumstances
from operations.erasure.routes import ERASURE_RUNNER, ErasureRunner
from operations.topology.routes import SURVEY, survey_of
from operations.webhook_replay.loop import Replays
from operations.webhook_replay.routes import REPLAYS
from ops.processes.routes import HEALTH, INTERNAL, OWN, WEBHOOKS
from projections import endpoints, roster
from projections.senders import Senders
from runtime.database import Pool, make_pool
from runtime.heartbeat import Heartbeat
from runtime.schema import SchemaWatch
from runtime.service import running
from runtime.settings import Secret
from schemas.providers import providers

_FIRST_LOOK: Final = (
    1.0  # seconds that the start waits for the schema, the partners and the endpoints, so that no request meets unknown ones
)


class Resources(NamedTuple):
    """The tools that both listeners share while the process lives."""

    intake: Intake
    days: Days
    rejections: RejectedLog
    commands: Pool
    reads: Pool
    settlements: Settlements
    audit: AuditLog
    presence: Presence
    replays: Replays
    secret_uses: SecretUses
    erasure_runner: ErasureRunner
    schema: SchemaWatch
    senders: Senders
    sources: LiveSources
    siblings: Siblings
    stopping: asyncio.Event
    """Set at a request to stop: the process still serves, and reports that it is not ready."""


@asynccontextmanager
async def opened(settings: GatewaySettings, siblings: Siblings | None = None) -> AsyncIterator[Resources]:
    """Open the resources, which connect by themselves; at the end write everything that is queued, and close all."""
    intake = Intake(
        settings.database_url,
        waiting_max=settings.intake_waiting_max,
        waiting_bytes=settings.intake_waiting_bytes,
        batch_max=settings.intake_batch_max,
        limit=settings.intake_commit_limit,
    )
    senders = Senders.of(settings)
    sources = LiveSources(settings, senders)
    settings.on_change(senders.follow, "partners", "secret_keys")

    def why(connection: AsyncConnection, place: str) -> Awaitable[str]:
        return circumstances.latest_refusal(connection, place, circumstances.inputs_of(settings.newest, senders))

    rejections = RejectedLog(settings.database_url, kept_per_hour=settings.rejected_kept_per_hour, why=why)
    commands = make_pool(settings.database_url, size=4, name="commands", lease=settings.lock_lease)
    reads = make_pool(settings.database_url, size=5, name="reads", lease=settings.lock_lease, statement=None)
    settlements = Settlements(settings.database_url)
    audited = AuditLog(settings.database_url)
    days = Days(commands)
    presence = Presence(settings.database_url, settings.lock_lease)
    replays = Replays(settings.database_url, commands, sources, lease=settings.lock_lease)
    secret_uses = SecretUses(settings.database_url, Holders(settings, senders).of)
    erasure_runner = ErasureRunner(settings.database_url, settings.lock_lease)
    schema = SchemaWatch(settings.database_url, "gateway")
    schema.start()
    await asyncio.to_thread(schema.wait_looked, _FIRST_LOOK)
    # Closed in the opposite order: the pool that others use last, and the rejections after the intake that refuses.
    services = (commands, reads, rejections, intake, audited, days, settlements, presence, replays, secret_uses, erasure_runner)
    try:
        async with (
            running(*services),
            roster.followed(senders.partners, settings.database_url, wait=False),
            endpoints.followed(senders.endpoints, settings.database_url),
        ):
            with suppress(TimeoutError):
                await asyncio.wait_for(senders.read(), _FIRST_LOOK)
            yield Resources(
                intake=intake,
                days=days,
                rejections=rejections,
                commands=commands,
                reads=reads,
                settlements=settlements,
                audit=audited,
                presence=presence,
                replays=replays,
                secret_uses=secret_uses,
                erasure_runner=erasure_runner,
                schema=schema,
                senders=senders,
                sources=sources,
                siblings=siblings or Siblings(),
                stopping=asyncio.Event(),
            )
    finally:
        schema.stop()


def loops_of(resources: Resources) -> tuple[Heartbeat, ...]:
    """Return the heartbeats of the loops without which the process must not continue; `/health/live` checks them."""
    return (*resources.intake.heartbeats, resources.replays.heartbeat)


def build_own(resources: Resources) -> web.Application:
    """Build the application that the other processes of a gateway may reach: it answers for this process alone."""
    app = web.Application(middlewares=[refuse])
    _add_health(app, resources)
    app[SIBLINGS] = Siblings()
    serve(app, OWN)
    return app


def _add_health(app: web.Application, resources: Resources) -> None:
    """Add the tools of the pages about the process itself."""
    app[LOOPS] = loops_of(resources)
    app[INTAKE] = resources.intake
    app[DAYS] = resources.days
    app[SCHEMA] = resources.schema
    app[STOPPING] = resources.stopping
    app[SIBLINGS] = resources.siblings


def build_public(settings: GatewaySettings, resources: Resources) -> web.Application:
    """Build the application that the world may reach: webhooks of the sources that are set up, and health."""
    app = web.Application(middlewares=[trace_and_refuse], client_max_size=settings.max_body_bytes)
    _add_health(app, resources)
    limits = limit_rates(app, settings)
    app[COMMANDS] = resources.commands
    admit = limit_partners(limits, resources.senders.partners, leads.bind_key)
    app[RECEPTIONS] = receptions = {
        name: _reception(live, settings, resources, admit, leads.answer)
        if name == PARTNER
        else _reception(live, settings, resources)
        for name, live in resources.sources.items()
        if not live.source.endpoint
    }
    settings.on_change(partial(_renew, receptions, resources.senders))
    unknown: dict[str, Reception] = {
        provider.name: _reception(
            LiveSource(unknown_source(plain_source(provider, settings), resources.senders.endpoints), ()),
            settings, resources, watched=False,
        )
        for provider in providers()
    }  # fmt: skip
    make = partial(_reception, settings=settings, resources=resources)
    app[ENDPOINT_RECEPTIONS] = EndpointReceptions(resources.sources, make, unknown)
    serve(app, [*HEALTH, *(route for route in WEBHOOKS if route.source or route.name in receptions)])
    return app


def _reception(
    live: LiveSource,
    settings: GatewaySettings,
    resources: Resources,
    admit: Admit | None = None,
    answer: Answer = acknowledge,
    *,
    watched: bool = True,
) -> Reception:
    return Reception(
        live.source,
        live.secrets,
        intake=resources.intake,
        rejections=resources.rejections,
        max_body_bytes=settings.max_body_bytes,
        used=resources.secret_uses.count,
        # Any stranger can get a /48, and with it 65,536 networks of /64.
        clients=Clients(settings.trusted_proxies, ipv6_prefix=48),
        admit=admit,
        answer=answer,
        watched=watched,
    )


def _renew(receptions: Mapping[str, Reception], senders: Senders, settings: GatewaySettings) -> None:
    """Give each reception its current secrets; close that of a provider that has none any more."""
    found = LiveSources(settings, senders)
    for name, reception in receptions.items():
        if name in found:
            reception.renew(found[name].source, found[name].secrets)
        else:
            reception.close()


def build_internal(settings: GatewaySettings, resources: Resources) -> web.Application:
    """Build the application that our own services and operators may reach."""
    middlewares = [audit_call, trace_and_refuse, require_subject, require_token, mask_for_readers, check_parameters, honour_key]
    app = web.Application(middlewares=middlewares, client_max_size=settings.max_body_bytes)
    _add_health(app, resources)
    app[READS] = resources.reads
    app[COMMANDS] = resources.commands
    app[ALLOWED_SUBJECTS] = settings.internal_tls_allowed_subjects
    app[AUDIT] = resources.audit
    app[SETTLEMENTS] = resources.settlements
    app[PRESENCE] = resources.presence
    app[REPLAYS] = resources.replays
    app[SURVEY] = survey_of(settings.kafka)
    app[COMMAND_WAIT] = settings.command_wait
    app[CACHE_ALLOW_ALL] = settings.cache_allow_all
    app[SETTINGS] = settings
    app[SENDERS] = resources.senders
    app[ERASURE_RUNNER] = resources.erasure_runner
    app[SECRET_USES] = resources.secret_uses
    app[GATEKEEPER] = gatekeeper = Gatekeeper(*_tokens(settings))
    settings.on_change(lambda newest: gatekeeper.renew(*_tokens(newest)))
    app[CONTRACT] = files("schemas").joinpath("openapi.json").read_bytes()
    serve(app, INTERNAL)
    add_console(app)
    return app


def _tokens(settings: GatewaySettings) -> tuple[tuple[Secret, ...], ...]:
    """The tokens of services, of operators and of readers."""
    return settings.internal_api_token, settings.admin_api_token, settings.read_api_token
