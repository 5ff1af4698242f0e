"""What an application and a request carry, by typed keys."""

from typing import Final, NamedTuple
from uuid import UUID

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.access import Gatekeeper
from outbox.intake import Intake
from runtime.database import Pool
from runtime.tracing import Trace


class Call(NamedTuple):
    """One request: its id, which becomes the id of the event or delivery that it brings, and its step in the trace."""

    id: UUID
    trace: Trace


CALL: Final = web.RequestKey("call", Call)
INTAKE: Final = web.AppKey("intake", Intake)
ENGINE: Final = web.AppKey("engine", AsyncEngine)
COMMANDS: Final = web.AppKey("commands", Pool)
GATEKEEPER: Final = web.AppKey("gatekeeper", Gatekeeper)
