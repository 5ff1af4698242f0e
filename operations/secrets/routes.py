"""Our secrets, by their public ids: how they are used, and which may be dropped."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from gateway.keys import LIVE_SECRETS, SECRET_USES
from gateway.postgres import transaction
from gateway.secrets import uses as secret_uses
from gateway.secrets.witness import Secrets, states_of


async def secrets(request: web.Request) -> web.Response:
    """
    List the secrets and tokens by their public ids.

    Each is listed with its use over all gateways and whether it is safe to drop. The secrets themselves are never returned.
    """
    async with transaction(request) as connection:
        await request.app[SECRET_USES].flush()
        now = datetime.now(UTC)
        uses = await secret_uses.read(connection, now)
    live = request.app[LIVE_SECRETS]
    found = Secrets(states_of(live, uses, now))
    return web.json_response(body=msgspec.json.encode(found))
