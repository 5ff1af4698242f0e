"""The state of every secret: its use over all gateways, and whether it may be dropped."""

from datetime import UTC, datetime

from psycopg import AsyncConnection

from gateway.secrets import uses
from gateway.secrets.uses import Secrets, live_secrets, states_of
from gateway.settings import GatewaySettings
from outbox import secret_changes
from projections.senders import Senders


async def read(connection: AsyncConnection, settings: GatewaySettings, senders: Senders) -> Secrets:
    """Return the secrets of these settings and senders, and those that were used lately, by their public ids."""
    now = datetime.now(UTC)
    used, changes = await uses.read(connection, now), await secret_changes.latest(connection, now)
    return Secrets(states_of(live_secrets(settings, senders), used, now), changes)
