"""The audit log: calls and their callers, newest first."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from psycopg import AsyncConnection

from console.listing import Found, list_page
from console.pages import SESSION, Screen
from gateway import audit_log
from gateway.keys import AUDIT
from gateway.masking import masked
from gateway.paging import cursor_of
from operations.audit.routes import AuditQuery


async def audit(request: web.Request) -> web.Response:
    """Show the calls that match the filters of the address."""

    async def read(connection: AsyncConnection, query: AuditQuery) -> Found:
        found, last = await audit_log.find(connection, query.search(datetime.now(UTC)))
        return Found([(call, _path(request, call.path)) for call in found], cursor_of(last) if last else None)

    await request.app[AUDIT].flush()
    return await list_page(request, "audit.html", AuditQuery, read)


def _path(request: web.Request, path: str) -> str:
    """Return the path, masked for readers: the entry of a command may include a person's address."""
    return path if request[SESSION].changes else str(masked(path, frozenset()))


SCREEN: Final = Screen("", "/console/settings/audit", (web.get("/settings/audit", audit, name="console_audit"),))
