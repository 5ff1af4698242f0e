"""The typed keys of applications and requests."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from aiohttp import web

from gateway.audit_log import AuditLog
from gateway.commands.settlements import Settlements
from gateway.days import Days
from gateway.presence import Presence
from gateway.refusal_log import RefusalLog
from gateway.secrets.tokens import Caller, Gatekeeper
from gateway.secrets.uses import SecretUses
from gateway.settings import GatewaySettings
from gateway.siblings import Siblings
from gateway.webhooks.intake import Intake
from projections.senders import Senders
from runtime.database import Pool
from runtime.heartbeat import Heartbeat
from runtime.schema import SchemaWatch
from runtime.tracing import Trace


class Call(NamedTuple):
    """One request: its own id, and its step in the trace."""

    id: UUID
    trace: Trace


CALL: Final = web.RequestKey("call", Call)
CALLER: Final = web.RequestKey("caller", Caller)
"""Set where a token was asked for and is known, even where it did not suffice."""
COMMAND_ID: Final = web.RequestKey("command_id", UUID)
"""The id that a repeated call under an `Idempotency-Key` has from the first one; read it by `commands.acceptance.command_id`."""
ENDPOINT: Final = web.RequestKey("endpoint", str)
"""The id of the provider's endpoint that was called, where it exists."""
PLACE: Final = web.RequestKey("place", str)
"""The endpoint that an operator's call is about, such as `stripe/eu`, where it exists."""
REFUSAL: Final = web.RequestKey("refusal", str)
"""The reason, once the request is refused."""
RECORDED: Final = web.RequestKey("recorded", bool)
"""Set once a command of this request is written down."""
DAYS: Final = web.AppKey("days", Days)
SCHEMA: Final = web.AppKey("schema", SchemaWatch)
STOPPING: Final = web.AppKey("stopping", asyncio.Event)
"""Set once the process is asked to stop."""
SIBLINGS: Final = web.AppKey("siblings", Siblings)
REFUSAL_LOG: Final = web.AppKey("refusal_log", RefusalLog)
LOOPS: Final = web.AppKey("loops", Sequence[Heartbeat])
"""Of the loops that the process cannot do without."""
INTAKE: Final = web.AppKey("intake", Intake)
COMMANDS: Final = web.AppKey("commands", Pool)
READS: Final = web.AppKey("reads", Pool)
"""For reads that may take long."""
ALLOWED_SUBJECTS: Final = web.AppKey("allowed_subjects", frozenset[str])
AUDIT: Final = web.AppKey("audit", AuditLog)
SETTLEMENTS: Final = web.AppKey("settlements", Settlements)
CACHE_ALLOW_ALL: Final = web.AppKey("cache_allow_all", bool)
PRESENCE: Final = web.AppKey("presence", Presence)
COMMAND_WAIT: Final = web.AppKey("command_wait", timedelta)
GATEKEEPER: Final = web.AppKey("gatekeeper", Gatekeeper)
SETTINGS: Final = web.AppKey("settings", GatewaySettings)
"""As they were at the start; their `newest` have the secrets of now."""
SENDERS: Final = web.AppKey("senders", Senders)
SECRET_USES: Final = web.AppKey("secret_uses", SecretUses)
