"""Our secrets, by their public ids: how they are used, and which may be dropped."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from gateway.keys import SECRET_USES, SENDERS, SETTINGS
from gateway.postgres import transaction
from gateway.secrets import uses as secret_uses
from gateway.secrets.uses import Secrets, live_secrets, states_of
from outbox import secret_changes


async def secrets(request: web.Request) -> web.Response:
    """
    List the secrets and tokens by their public ids.

    Each is listed with its use over all gateways and whether it is safe to drop. The secrets themselves are never returned.
    """
    async with transaction(request) as connection:
        await request.app[SECRET_USES].flush()
        now = datetime.now(UTC)
        uses = await secret_uses.read(connection, now)
        changes = await secret_changes.latest(connection, now)
    live = live_secrets(request.app[SETTINGS].newest, request.app[SENDERS])
    found = Secrets(states_of(live, uses, now), changes)
    return web.json_response(body=msgspec.json.encode(found))
