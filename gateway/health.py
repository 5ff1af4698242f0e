"""The health of the process: that it lives, and that it can take a webhook now."""

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.keys import DAYS, INTAKE, LOOPS, SCHEMA, STOPPING
from runtime.heartbeat import liveness


class Live(msgspec.Struct, frozen=True):
    live: bool = True


class Ready(msgspec.Struct, frozen=True):
    """The answer of `/health/ready`: `process` names what answers, `system` the database that it works on."""

    ready: bool = True
    process: str = ""
    system: str | None = None


async def live(request: web.Request) -> web.Response:
    """Answer whether each loop of the process still turns, with Postgres away too."""
    if hung := liveness([*request.app[LOOPS]]).get("loops"):
        raise GatewayError(Reason.LOOP_HUNG, f"has not turned for a minute: {', '.join(hung)}")
    return web.json_response(body=msgspec.json.encode(Live()))


async def ready(request: web.Request) -> web.Response:
    """Answer whether the gateway can take a webhook now; one that is asked to stop is not ready, and serves on."""
    schema = request.app[SCHEMA]
    if request.app[STOPPING].is_set():
        raise GatewayError(Reason.STOPPING, "the gateway has been asked to stop")
    if schema.unfit:
        raise GatewayError(Reason(schema.unfit.reason), schema.unfit.detail)
    if schema.found is None or not request.app[INTAKE].ready:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres is away")
    if found := request.app[DAYS].wrong:
        raise GatewayError(*found)
    return web.json_response(body=msgspec.json.encode(Ready(process="gateway", system=schema.found.system)))
