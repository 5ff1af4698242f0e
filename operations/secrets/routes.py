"""The route that lists our secrets by their public ids, with their use and whether they may be dropped."""

from aiohttp import web

from gateway.answers import answer
from gateway.keys import SECRET_USES, SENDERS, SETTINGS
from gateway.postgres import transaction
from operations.secrets import states


async def secrets(request: web.Request) -> web.Response:
    """
    List the secrets and tokens by their public ids.

    Each is listed with its use over all gateways and whether it is safe to drop. The secrets themselves are never returned.
    """
    async with transaction(request) as connection:
        await request.app[SECRET_USES].flush()
        return answer(await states.read(connection, request.app[SETTINGS].newest, request.app[SENDERS]))
