"""The audit log: each call with its caller, its time, its trace and its answer."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway.answers import answer_page, by_id
from gateway.paging import Page, Paged
from gateway.parameters import query_of
from gateway.postgres import reading
from outbox import audit as log
from schemas.text import Filter


class AuditQuery(Paged, frozen=True, kw_only=True):
    """Narrows the audit log."""

    actor: Annotated[Filter, Meta(description="A token's public id, or a role.")] | None = None
    path: Annotated[Filter, Meta(description="The beginning of a route's template.")] | None = None


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


class AuditPage(Page[AuditEntry], frozen=True):
    """Newest first; `next` is the cursor of the following page, absent on the last one."""


async def audit(request: web.Request) -> web.Response:
    """List the calls, newest first."""
    query = query_of(request, AuditQuery)
    search = log.Search(*query.ids(datetime.now(UTC)), query.limit + 1, query.actor, query.path)
    async with reading(request) as connection:
        found = await log.find(connection, search)
    return answer_page(AuditPage, [_entry(call) for call in found], query.limit, by_id)


def _entry(call: log.Audited) -> AuditEntry:
    fields = msgspec.structs.asdict(call)
    return AuditEntry(at=call.at, actor=fields.pop("secret_id"), **fields)
