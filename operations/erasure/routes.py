"""Erasures of a subject: begun by a request, carried out in the background, and reported as they proceed."""

import asyncio
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import ClassVar, Final
from uuid import UUID

import msgspec
import psycopg
import structlog
from aiohttp import web

from gateway import bodies
from gateway.answers import answer, answer_page, asked_id, by_id, known
from gateway.commands.acceptance import command_id
from gateway.errors import GatewayError, Reason
from gateway.keys import CALLER
from gateway.paging import Page, Paged
from gateway.parameters import query_of
from gateway.postgres import reading, refusing_outages, transaction
from operations.erasure import erasures
from operations.erasure.erasures import Erasure, Outlook
from operations.erasure.subjects import FORMS, Kind, Subject, SubjectId, subject_of
from operations.errors import OperationError
from runtime.sessions import DEFAULT_LEASE, connect_async
from schemas.rules import Json, by_case
from schemas.text import Why

log = structlog.get_logger()


class ErasuresQuery(Paged, frozen=True):
    """The page of erasures to show."""


class EraseSubject(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    Erase everything that is held of one subject.

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


class ErasuresPage(Page[Erasure], frozen=True):
    """Newest first; `next` is the cursor of the following page, absent on the last one."""


class Erasing:
    """Carries erasures out, one after the other. A gateway that stops breaks its erasure off, which shows as `brokenOff`."""

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
        """Preview an erasure."""
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
    """Erase all that is held of one subject, or with `dryRun` preview it; contents go for good, digests and outcomes stay."""
    asked = await bodies.read(request, EraseSubject)
    try:
        subject = subject_of(asked.kind, asked.id)
    except OperationError as error:
        raise GatewayError(Reason.FIELD_INVALID, f"{error} - at `$.id`") from error
    if asked.dry_run:
        with refusing_outages():
            outlook = await request.app[ERASING].preview(subject)
        return answer(outlook)
    erasure_id, by = command_id(request), request[CALLER].secret_id
    async with transaction(request) as connection:
        await erasures.begin(connection, erasure_id, subject, reason=asked.reason, by=by)
    request.app[ERASING].begin(erasure_id, subject, by)
    return answer(ErasuresBegun(erasure_id), HTTPStatus.ACCEPTED)


async def erasure(request: web.Request) -> web.Response:
    """An erasure, and how far it is."""
    asked = asked_id(request, "erasure")
    async with transaction(request) as connection:
        return answer(known(await erasures.read(connection, asked), "no erasure has this id"))


async def all_erasures(request: web.Request) -> web.Response:
    """Erasures, newest first."""
    query = query_of(request, ErasuresQuery)
    async with reading(request) as connection:
        found = await erasures.read_all(connection, *query.ids(datetime.now(UTC)), query.limit + 1)
    return answer_page(ErasuresPage, found, query.limit, by_id)
