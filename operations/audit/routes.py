"""The audit log: who called what, when, in which trace, and what was said."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from gateway.paging import OF_PAGES, cursor_of, names_of, parse_page
from gateway.postgres import command_transaction
from gateway.route import Parameter
from outbox import audit as log
from schemas.text import Filter

PARAMETERS: Final = (
    Parameter("actor", Filter, "A token's public id, or a role."),
    Parameter("path", Filter, "The beginning of a route's template."),
    *OF_PAGES,
)


class AuditEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One call; `actor` is the public id of the token, absent where none is known."""

    id: UUID
    at: datetime
    method: str
    path: str
    status: int
    trace_id: str
    duration_ms: int
    actor: str | None = None
    role: str | None = None
    reason: str | None = None
    client: str | None = None


class AuditPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Newest first; `next` is the cursor of the following page, absent on the last one."""

    items: list[AuditEntry]
    next: str | None = None


async def audit(request: web.Request) -> web.Response:
    """Who called what, newest first."""
    page = parse_page(request.query, names_of(PARAMETERS), datetime.now(UTC))
    search = log.Search(page.first, page.before, page.limit + 1, request.query.get("actor"), request.query.get("path"))
    async with command_transaction(request) as connection:
        found = await log.find(connection, search)
    items = [_entry(call) for call in found[: page.limit]]
    answer = AuditPage(items, cursor_of(items[-1].id) if len(found) > page.limit else None)
    return web.json_response(body=msgspec.json.encode(answer))


def _entry(call: log.Audited) -> AuditEntry:
    fields = msgspec.structs.asdict(call)
    return AuditEntry(at=call.at, actor=fields.pop("secret_id"), **fields)
