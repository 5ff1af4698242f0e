"""The routes of erasures: a request begins one, a background task carries it out, and its progress can be read."""

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
from gateway.answers import answer, answer_page, by_id, id_in_path, require
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
from schemas.text import ReasonText

log = structlog.get_logger()


class ErasuresQuery(Paged, frozen=True):
    """The page of erasures to show."""


class EraseSubject(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A subject whose data is to be erased."""

    kind: Kind  #: The kind of subject.
    id: SubjectId  #: The subject's id: a mail address, your user id, the provider's id, or `PARTNER/EXTERNAL_ID` of a lead.
    reason: ReasonText  #: Why it is erased; kept in the log, so it should name no person.
    dry_run: bool = False  #: True to count the rows and change nothing.

    rules: ClassVar[Json] = by_case(
        "kind", (({"const": kind}, {"id": {"type": "string", "pattern": form}}) for kind, form in FORMS.items())
    )


class ErasuresBegun(msgspec.Struct, frozen=True, rename="camel"):
    """The erasure is durable; poll `GET /v1/admin/erasures/{id}` for its progress."""

    erasure_id: UUID  #: The id of the erasure.


class ErasuresPage(Page[Erasure], frozen=True):
    """One page of the erasures, newest first."""


class ErasureRunner:
    """Carries out erasures, one after the other. A gateway that stops cancels its erasure, which `brokenOff` then reports."""

    def __init__(self, url: str, lease: timedelta = DEFAULT_LEASE) -> None:
        self._url = url
        self._lease = lease
        self._tasks: set[asyncio.Task[None]] = set()
        self._one = asyncio.Lock()

    async def open(self) -> None:
        """Do nothing: an erasure starts when a request begins it."""

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


ERASURE_RUNNER: Final = web.AppKey("erasure_runner", ErasureRunner)


async def begin(request: web.Request) -> web.Response:
    """
    Erase the data of one subject.

    Contents are erased for good; digests and outcomes stay, so that duplicates are still recognized. With `dryRun`, the rows
    are only counted.
    """
    body = await bodies.read(request, EraseSubject)
    try:
        subject = subject_of(body.kind, body.id)
    except OperationError as error:
        raise GatewayError(Reason.FIELD_INVALID, f"{error} - at `$.id`") from error
    if body.dry_run:
        with refusing_outages():
            outlook = await request.app[ERASURE_RUNNER].preview(subject)
        return answer(outlook)
    erasure_id, by = command_id(request), request[CALLER].secret_id
    async with transaction(request) as connection:
        await erasures.begin(connection, erasure_id, subject, reason=body.reason, by=by)
    request.app[ERASURE_RUNNER].begin(erasure_id, subject, by)
    return answer(ErasuresBegun(erasure_id), HTTPStatus.ACCEPTED)


async def erasure(request: web.Request) -> web.Response:
    """
    Read an erasure and its progress.

    The subject appears only as a digest.
    """
    erasure_id = id_in_path(request, "erasure")
    async with transaction(request) as connection:
        return answer(require(await erasures.read(connection, erasure_id), "no erasure has this id"))


async def all_erasures(request: web.Request) -> web.Response:
    """
    List the erasures, newest first.

    Subjects appear only as digests.
    """
    query = query_of(request, ErasuresQuery)
    async with reading(request) as connection:
        found = await erasures.read_all(connection, *query.ids(datetime.now(UTC)), query.limit + 1)
    return answer_page(ErasuresPage, found, query.limit, by_id)
