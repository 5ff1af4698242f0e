"""Why a delivery was refused, for operators alone."""

from typing import Final

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.paging import id_of
from gateway.postgres import snapshot
from operations.deliveries import clues

CLUES: Final = web.AppKey("clues", clues.Settings)


async def explanation(request: web.Request) -> web.Response:
    """
    Explain why a delivery was refused.

    The gateway tries every secret, the usual ways of rewriting a body and the usual damage to a header on the stored
    delivery.
    """
    asked = id_of(request.match_info["id"], "delivery")
    async with snapshot(request) as connection:
        found = await clues.explained(connection, asked, request.app[CLUES])
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "no delivery has this id, or its day is past retention")
    return web.json_response(body=msgspec.json.encode(found))
