"""Whether the process lives, and whether it can take a webhook now."""

from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.keys import INTAKE


async def live(_: web.Request) -> web.Response:
    """Answered while the process can answer at all, with Postgres away too."""
    return web.json_response({"live": True})


async def ready(request: web.Request) -> web.Response:
    if not request.app[INTAKE].ready:
        raise GatewayError(Reason.POSTGRES_UNAVAILABLE, "Postgres is away, or the gateway stops")
    return web.json_response({"ready": True})
