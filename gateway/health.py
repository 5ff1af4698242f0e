"""Whether the process lives, and whether it can take a webhook now."""

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.keys import DAYS, INTAKE, LOOPS
from runtime.heartbeat import liveness


class Live(msgspec.Struct, frozen=True):
    live: bool = True


class Ready(msgspec.Struct, frozen=True):
    ready: bool = True


async def live(request: web.Request) -> web.Response:
    """Whether everything in the process still turns, with Postgres away too; one that does not answer does not either."""
    if hung := liveness([*request.app[LOOPS]]).get("loops"):
        raise GatewayError(Reason.LOOP_HUNG, f"has not turned for a minute: {', '.join(hung)}")
    return web.json_response(body=msgspec.json.encode(Live()))


async def ready(request: web.Request) -> web.Response:
    """Whether a webhook can be taken now."""
    if not request.app[INTAKE].ready:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres is away, or the gateway stops")
    if found := request.app[DAYS].wrong:
        raise GatewayError(*found)
    return web.json_response(body=msgspec.json.encode(Ready()))
