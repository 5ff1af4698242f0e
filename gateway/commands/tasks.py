"""What became of a command, for who was answered before it was known."""

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.paging import id_of
from gateway.postgres import command_transaction
from outbox import tasks


async def task(request: web.Request) -> web.Response:
    """
    Read the state of a command.

    A task is `pending` until a worker has handled its command, then `done` with a result or `failed` with a reason. It is
    kept for `RETENTION_DAYS`.
    """
    asked = id_of(request.match_info["taskId"], "task")
    async with command_transaction(request) as connection:
        found = await tasks.read(connection, asked)
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "no task has this id, or its day is past retention")
    return web.json_response(body=msgspec.json.encode(found))
