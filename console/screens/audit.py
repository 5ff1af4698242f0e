"""The audit log: who called what, newest first."""

from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from console.filters import filled
from console.pages import SESSION, Screen, page
from gateway import audit_log
from gateway.errors import GatewayError
from gateway.keys import AUDIT
from gateway.masking import masked
from gateway.paging import cursor_of
from gateway.parameters import parse_query
from gateway.postgres import reading
from operations.audit.routes import AuditQuery


async def audit(request: web.Request) -> web.Response:
    """Show the calls that the filters of the address name."""
    given = filled(request)
    try:
        query = parse_query(AuditQuery, given.items())
        search = query.search(datetime.now(UTC))
    except GatewayError as error:
        return page(request, "audit.html", status=error.status, given=given, complaint=str(error), calls=[], following="")
    await request.app[AUDIT].flush()
    async with reading(request) as connection:
        found, last = await audit_log.find(connection, search)
    following = urlencode(given | {"cursor": cursor_of(last)}) if last else ""
    calls = [(call, _told(request, call.path)) for call in found]
    return page(request, "audit.html", given=given, complaint="", calls=calls, following=following)


def _told(request: web.Request, path: str) -> str:
    """The path, in which a command at a shell may have named somebody."""
    return path if request[SESSION].changes else str(masked(path, frozenset()))


SCREEN: Final = Screen("", "/console/settings/audit", (web.get("/settings/audit", audit, name="console_audit"),))
