"""The audit log: each call with its caller, its time, its trace and its answer."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway import audit_log as log
from gateway.answers import answer
from gateway.paging import Page, Paged, cursor_of
from gateway.parameters import query_of
from gateway.postgres import reading
from schemas.text import Filter


class AuditQuery(Paged, frozen=True, kw_only=True):
    """Narrows the audit log."""

    actor: (
        Annotated[Filter, Meta(description="Only calls with the token of this public id, or with a token of this role.")] | None
    ) = None
    path: Annotated[Filter, Meta(description="Only calls of routes whose template begins with this text.")] | None = None

    def search(self, now: datetime) -> log.Search:
        """The search for the page. Raises GatewayError `query_malformed`."""
        return log.Search(*self.ids(now), self.limit, self.actor, self.path)


class AuditEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One call of the internal listener."""

    id: UUID  #: The id of the call.
    at: datetime  #: When it was answered.
    method: str  #: The HTTP method, `CLI` for a command at a shell, or `SECRET` for a change of a file with secrets.
    path: str  #: The template of the route, the command, or the setting with the public ids of its secrets.
    status: int  #: The HTTP status of the answer.
    trace_id: str  #: The trace of the call.
    duration_ms: int  #: Time to the answer, in milliseconds.
    actor: str | None = None  #: The public id of the token; absent if none was valid.
    role: str | None = None  #: The role of the token.
    reason: str | None = None  #: The stable word of the error; absent after a success.
    client: str | None = None  #: The caller's address, the account at the shell, or the process.


class AuditPage(Page[AuditEntry], frozen=True):
    """One page of the calls, newest first."""


async def audit(request: web.Request) -> web.Response:
    """
    List the calls of the internal listener, newest first.

    The log holds every call that needs a token, with its outcome and trace, and every change of a file with secrets: its
    method is `SECRET`, its path the setting with the public ids, its client the process. `actor` and `path` narrow the list:
    a page examines at most 20,000 calls, so it may be short, or even empty, if few match; `next` leads to the following page.
    """
    query = query_of(request, AuditQuery)
    async with reading(request) as connection:
        found, last = await log.find(connection, query.search(datetime.now(UTC)))
    return answer(AuditPage([_entry(call) for call in found], cursor_of(last) if last else None))


def _entry(call: log.Audited) -> AuditEntry:
    fields = msgspec.structs.asdict(call)
    return AuditEntry(at=call.at, actor=fields.pop("secret_id"), **fields)
