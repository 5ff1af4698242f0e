"""Settings: our secrets by their public ids, the retention, and the messages about the last alerts."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from console.pages import SESSION, Screen, page
from gateway.keys import SECRET_USES, SENDERS, SETTINGS
from gateway.postgres import reading, transaction
from operations.retention import store as retention
from operations.secrets import states
from operations.state.query import NotificationsQuery
from projections import lists

_SECRETS: Final = 100
"""The maximum number of secrets on the page; a filter by the setting's name shows others."""
_ALERTS: Final = 5
_CHANGES: Final = 20


async def settings(request: web.Request) -> web.Response:
    """Show the secrets of this gateway and those used lately, the retention, and the messages about the last alerts."""
    await request.app[SECRET_USES].flush()
    begins = request.query.get("setting", "")
    query = NotificationsQuery(template="operator-alert", limit=_ALERTS)
    async with transaction(request) as connection:
        secrets = await states.read(connection, request.app[SETTINGS].newest, request.app[SENDERS])
    async with reading(request) as connection:
        kept = await retention.read(connection)
        alerts = await lists.read(connection, lists.NOTIFICATIONS, query.list_query(datetime.now(UTC)))
    fitting = [each for each in secrets.items if each.setting.casefold().startswith(begins.casefold())]
    return page(
        request,
        "settings.html",
        secrets=fitting[:_SECRETS],
        begins=begins,
        more=len(fitting) > _SECRETS,
        rule=secrets.rule,
        changes=secrets.changes[:_CHANGES],
        retention=kept,
        alerts=alerts.items,
        to_shown=request[SESSION].changes,
    )


SCREEN: Final = Screen("Settings", "/console/settings", (web.get("/settings", settings, name="console_settings"),))
