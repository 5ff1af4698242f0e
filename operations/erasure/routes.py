"""Erasures of a subject: begun here, carried out beside the requests, and told of as they go."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final
from uuid import UUID

import msgspec
import psycopg
import structlog
from aiohttp import web

from gateway import bodies
from gateway.errors import GatewayError, Reason
from gateway.keys import CALL, CALLER
from gateway.paging import OF_PAGES, cursor_of, id_of, names_of, parse_page
from gateway.postgres import command_transaction, refusing_outages
from operations.erasure import erasures
from operations.erasure.erasures import Erasure, Outlook
from operations.erasure.subjects import FORMS, Kind, Subject, SubjectId, subject_of
from operations.errors import OperationError
from runtime.sessions import DEFAULT_LEASE, connect_async
from schemas.rules import Json, by_case
from schemas.text import Why

log = structlog.get_logger()

PARAMETERS: Final = OF_PAGES


class EraseSubject(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    Erase what is held of one subject.

    `id` is whose, in the words of its kind: an address, the id of a user, or of a customer, payment, subscription or invoice of
    the provider's, or `PARTNER/EXTERNAL_ID` for a lead. `reason` is kept, so it names nobody. With `dryRun` nothing is changed.
    """

    kind: Kind
    id: SubjectId
    reason: Why
    dry_run: bool = False

    rules: ClassVar[Json] = by_case(
        "kind", (({"const": kind}, {"id": {"type": "string", "pattern": form}}) for kind, form in FORMS.items())
    )


class ErasuresBegun(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to an erasure that has begun."""

    erasure_id: UUID


class ErasuresPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Newest first; `next` is the cursor of the following page, absent on the last one."""

    items: list[Erasure]
    next: str | None = None


class Erasing:
    """Carries erasures out, one after the other; one that a stopping gateway breaks off is told as such, and is begun again."""

    def __init__(self, url: str, lease: timedelta = DEFAULT_LEASE) -> None:
        self._url = url
        self._lease = lease
        self._tasks: set[asyncio.Task[None]] = set()
        self._one = asyncio.Lock()

    def begin(self, erasure_id: UUID, subject: Subject, by: str) -> None:
        task = asyncio.get_running_loop().create_task(self._carry_out(erasure_id, subject, by))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def preview(self, subject: Subject) -> Outlook:
        """What an erasure would erase now."""
        async with await self._connect() as connection:
            return await erasures.preview(connection, subject)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_out(self, erasure_id: UUID, subject: Subject, by: str) -> None:
        async with self._one:
            try:
                async with await self._connect() as connection:
                    await erasures.carry_out(connection, erasure_id, subject, by=by)
            except Exception:
                log.exception("erasure_failed", reason="internal_error", erasure=str(erasure_id))

    async def _connect(self) -> psycopg.AsyncConnection:
        return await connect_async(self._url, name="erasure", lease=self._lease, holds=True)


ERASING: Final = web.AppKey("erasing", Erasing)


async def begin(request: web.Request) -> web.Response:
    """Erase what is held of one subject, or with `dryRun` say what that is; contents go for good, digests and outcomes stay."""
    asked = await bodies.read(request, EraseSubject)
    try:
        subject = subject_of(asked.kind, asked.id)
    except OperationError as error:
        raise GatewayError(Reason.FIELD_INVALID, f"{error} - at `$.id`") from error
    if asked.dry_run:
        with refusing_outages():
            outlook = await request.app[ERASING].preview(subject)
        return web.json_response(body=msgspec.json.encode(outlook))
    erasure_id, by = request[CALL].id, request[CALLER].secret_id
    async with command_transaction(request) as connection:
        await erasures.begin(connection, erasure_id, subject, reason=asked.reason, by=by)
    request.app[ERASING].begin(erasure_id, subject, by)
    return web.json_response(status=202, body=msgspec.json.encode(ErasuresBegun(erasure_id)))


async def erasure(request: web.Request) -> web.Response:
    """An erasure, and how far it is."""
    asked = id_of(request.match_info["id"], "erasure")
    async with command_transaction(request) as connection:
        found = await erasures.read(connection, asked)
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "no erasure has this id")
    return web.json_response(body=msgspec.json.encode(found))


async def all_erasures(request: web.Request) -> web.Response:
    """Erasures, newest first."""
    page = parse_page(request.query, names_of(PARAMETERS), datetime.now(UTC))
    async with command_transaction(request) as connection:
        found = await erasures.read_all(connection, page.first, page.before, page.limit + 1)
    items = found[: page.limit]
    answer = ErasuresPage(items, cursor_of(items[-1].id) if len(found) > page.limit else None)
    return web.json_response(body=msgspec.json.encode(answer))
