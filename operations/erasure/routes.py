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
    """A subject whose data is to be erased."""

    kind: Kind  #: The kind of subject.
    id: SubjectId  #: The subject's id: a mail address, your user id, the provider's id, or `PARTNER/EXTERNAL_ID` of a lead.
    reason: Why  #: Why it is erased; kept in the log, so it should name no person.
    dry_run: bool = False  #: True to count the rows and change nothing.

    rules: ClassVar[Json] = by_case(
        "kind", (({"const": kind}, {"id": {"type": "string", "pattern": form}}) for kind, form in FORMS.items())
    )


class ErasuresBegun(msgspec.Struct, frozen=True, rename="camel"):
    """The erasure is durable; poll `GET /v1/admin/erasures/{id}` for its progress."""

    erasure_id: UUID  #: The id of the erasure.


class ErasuresPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One page of the erasures, newest first."""

    items: list[Erasure]  #: The erasures.
    next: str | None = None  #: The cursor of the following page; absent on the last page.


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
    """
    Erase the data of one subject.

    Contents are erased for good; digests and outcomes stay, so that duplicates are still recognized. With `dryRun` the rows
    are only counted.
    """
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
    """
    Read an erasure and its progress.

    The subject appears only as a digest.
    """
    asked = id_of(request.match_info["id"], "erasure")
    async with command_transaction(request) as connection:
        found = await erasures.read(connection, asked)
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "no erasure has this id")
    return web.json_response(body=msgspec.json.encode(found))


async def all_erasures(request: web.Request) -> web.Response:
    """
    List the erasures, newest first.

    Subjects appear only as digests.
    """
    page = parse_page(request.query, names_of(PARAMETERS), datetime.now(UTC))
    async with command_transaction(request) as connection:
        found = await erasures.read_all(connection, page.first, page.before, page.limit + 1)
    items = found[: page.limit]
    answer = ErasuresPage(items, cursor_of(items[-1].id) if len(found) > page.limit else None)
    return web.json_response(body=msgspec.json.encode(answer))
