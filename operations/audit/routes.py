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
    Parameter("actor", Filter, "Only calls with the token of this public id, or with a token of this role."),
    Parameter("path", Filter, "Only calls of routes whose template begins like this."),
    *OF_PAGES,
)


class AuditEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One call of the internal listener."""

    id: UUID  #: The id of the call.
    at: datetime  #: When it was answered.
    method: str  #: The HTTP method.
    path: str  #: The template of the route.
    status: int  #: The HTTP status of the answer.
    trace_id: str  #: The trace of the call.
    duration_ms: int  #: Time to the answer, in milliseconds.
    actor: str | None = None  #: The public id of the token; absent if none was valid.
    role: str | None = None  #: The role of the token.
    reason: str | None = None  #: The stable word of the error; absent after a success.
    client: str | None = None  #: The caller's address.


class AuditPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One page of the calls, newest first."""

    items: list[AuditEntry]  #: The calls.
    next: str | None = None  #: The cursor of the following page; absent on the last page.


async def audit(request: web.Request) -> web.Response:
    """
    List the calls of the internal listener, newest first.

    The log holds every call that needs a token, with its outcome and trace. `actor` and `path` narrow the list.
    """
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
