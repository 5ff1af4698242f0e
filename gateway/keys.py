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
"""Set if the route needs a token and the token is known, even if it is not sufficient."""
COMMAND_ID: Final = web.RequestKey("command_id", UUID)
"""The id of the first call under the same `Idempotency-Key`; read it with `commands.acceptance.command_id`."""
ENDPOINT: Final = web.RequestKey("endpoint", str)
"""The id of the provider's endpoint that was called, where it exists."""
PLACE: Final = web.RequestKey("place", str)
"""The endpoint that an operator's call is about, such as `stripe/eu`, where it exists."""
REFUSAL: Final = web.RequestKey("refusal", str)
"""The reason, once the request is refused."""
RECORDED: Final = web.RequestKey("recorded", bool)
"""Set once a command of this request is recorded."""
DAYS: Final = web.AppKey("days", Days)
SCHEMA: Final = web.AppKey("schema", SchemaWatch)
STOPPING: Final = web.AppKey("stopping", asyncio.Event)
"""Set once the stop of the process is requested."""
SIBLINGS: Final = web.AppKey("siblings", Siblings)
REFUSAL_LOG: Final = web.AppKey("refusal_log", RefusalLog)
LOOPS: Final = web.AppKey("loops", Sequence[Heartbeat])
"""The heartbeats of the loops that the process needs."""
INTAKE: Final = web.AppKey("intake", Intake)
COMMANDS: Final = web.AppKey("commands", Pool)
READS: Final = web.AppKey("reads", Pool)
"""The pool for reads that may take long."""
ALLOWED_SUBJECTS: Final = web.AppKey("allowed_subjects", frozenset[str])
AUDIT: Final = web.AppKey("audit", AuditLog)
SETTLEMENTS: Final = web.AppKey("settlements", Settlements)
CACHE_ALLOW_ALL: Final = web.AppKey("cache_allow_all", bool)
PRESENCE: Final = web.AppKey("presence", Presence)
COMMAND_WAIT: Final = web.AppKey("command_wait", timedelta)
GATEKEEPER: Final = web.AppKey("gatekeeper", Gatekeeper)
SETTINGS: Final = web.AppKey("settings", GatewaySettings)
"""The settings at the start; their `newest` has the current secrets."""
SENDERS: Final = web.AppKey("senders", Senders)
SECRET_USES: Final = web.AppKey("secret_uses", SecretUses)
