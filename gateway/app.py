"""The whole program on one page: what is opened, and what each listener is given; which path leads where is in `routes`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import leads
from gateway.access import Gatekeeper
from gateway.audit import audit_call
from gateway.idempotency import honour_key
from gateway.keys import (
    ALLOWED_SUBJECTS,
    AUDIT,
    CACHE_ALLOW_ALL,
    COMMAND_WAIT,
    COMMANDS,
    ENGINE,
    GATEKEEPER,
    INTAKE,
    PRESENCE,
    SETTLEMENTS,
)
from gateway.limiting import limit_partners, limit_rates
from gateway.middlewares import require_token, trace_and_refuse
from gateway.route import serve
from gateway.routes import HEALTH, INTERNAL, WEBHOOKS
from gateway.settings import GatewaySettings
from gateway.settlements import Settlements
from gateway.sources import Source
from gateway.sources.partner import partner_source
from gateway.sources.razorpay import RAZORPAY
from gateway.sources.stripe import STRIPE
from gateway.tls import require_subject
from gateway.webhooks import RECEPTIONS, Admit, Reception
from outbox.audit import AuditLog
from outbox.intake import Intake
from outbox.rejections import RejectedLog
from runtime.database import Pool, make_engine, make_pool
from runtime.presence import Presence
from runtime.settings import Secret


class Resources(NamedTuple):
    """What both listeners share while the process lives."""

    intake: Intake
    rejections: RejectedLog
    engine: AsyncEngine
    commands: Pool
    settlements: Settlements
    audit: AuditLog
    presence: Presence


@asynccontextmanager
async def opened(settings: GatewaySettings) -> AsyncIterator[Resources]:
    """The resources, connecting by themselves; at the end what waits is committed and everything is closed."""
    intake = Intake(
        settings.database_url,
        waiting_max=settings.intake_waiting_max,
        batch_max=settings.intake_batch_max,
        limit=settings.intake_commit_limit,
    )
    rejections = RejectedLog(settings.database_url, kept_per_hour=settings.rejected_kept_per_hour)
    engine = make_engine(settings.database_url, name="gateway")
    commands = make_pool(settings.database_url, size=4, name="commands")
    settlements = Settlements(settings.database_url)
    audited = AuditLog(settings.database_url)
    presence = Presence(settings.database_url)
    await intake.open()
    await rejections.open()
    await commands.open(wait=False)
    await settlements.open()
    await audited.open()
    await presence.open()
    try:
        yield Resources(intake, rejections, engine, commands, settlements, audited, presence)
    finally:
        await presence.close()
        await settlements.close()
        await audited.close()
        await intake.close()
        await rejections.close()
        await commands.close()
        await engine.dispose()


def build_public(settings: GatewaySettings, resources: Resources) -> web.Application:
    """What the world may reach: webhooks of the sources that are set up, and health."""
    app = web.Application(middlewares=[trace_and_refuse], client_max_size=settings.max_body_bytes)
    limits = limit_rates(app, settings)
    app[INTAKE] = resources.intake
    app[COMMANDS] = resources.commands
    app[RECEPTIONS] = receptions = {
        source.name: _reception(source, secrets, settings, resources)
        for source, secrets in ((STRIPE, settings.stripe_webhook_secret), (RAZORPAY, settings.razorpay_webhook_secret))
        if secrets
    }
    receptions["partner"] = _leads_reception(settings, resources, limit_partners(limits, leads.bind_key))
    serve(app, [*HEALTH, *(route for route in WEBHOOKS if route.name in receptions)])
    return app


def _reception(source: Source, secrets: Sequence[Secret], settings: GatewaySettings, resources: Resources) -> Reception:
    return Reception(
        source,
        secrets,
        intake=resources.intake,
        rejections=resources.rejections,
        max_body_bytes=settings.max_body_bytes,
        body_timeout=settings.body_timeout,
    )


def _leads_reception(settings: GatewaySettings, resources: Resources, admit: Admit) -> Reception:
    """The route of all partners, always there: whom nobody knows is refused like whose signature is wrong."""
    partners = settings.partners
    return Reception(
        partner_source(partners),
        [secret for partner in partners.values() for secret in (*partner.secret, *partner.token)],
        intake=resources.intake,
        rejections=resources.rejections,
        max_body_bytes=settings.max_body_bytes,
        body_timeout=settings.body_timeout,
        admit=admit,
        answer=leads.answer,
    )


def build_internal(settings: GatewaySettings, resources: Resources) -> web.Application:
    """What our own services and operators may reach."""
    door = [audit_call, trace_and_refuse, require_subject, require_token, honour_key]
    app = web.Application(middlewares=door, client_max_size=settings.max_body_bytes)
    app[INTAKE] = resources.intake
    app[ENGINE] = resources.engine
    app[COMMANDS] = resources.commands
    app[ALLOWED_SUBJECTS] = settings.internal_tls_allowed_subjects
    app[AUDIT] = resources.audit
    app[SETTLEMENTS] = resources.settlements
    app[PRESENCE] = resources.presence
    app[COMMAND_WAIT] = settings.command_wait
    app[CACHE_ALLOW_ALL] = settings.cache_allow_all
    app[GATEKEEPER] = Gatekeeper(settings.internal_api_token, settings.admin_api_token)
    serve(app, INTERNAL)
    return app
