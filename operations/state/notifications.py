"""What became of a notification."""

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.paging import id_of
from gateway.postgres import command_transaction
from projections import notifications


async def notification(request: web.Request) -> web.Response:
    """
    Read the state of a notification, with its events.

    The notification exists as soon as the notifications worker has taken the command.
    """
    asked = id_of(request.match_info["id"], "notification")
    async with command_transaction(request) as connection:
        found = await notifications.notification(connection, asked)
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "no notification has this id, or its command is still on the way")
    return web.json_response(body=msgspec.json.encode(found))
