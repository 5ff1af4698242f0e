"""Dead letters: found, looked at, sent out again, or given up."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.answers import answer, answer_page, asked_id, known
from gateway.errors import GatewayError, Reason
from gateway.keys import CALLER
from gateway.paging import Page, cursor_of
from gateway.parameters import query_of
from gateway.postgres import reading, transaction
from operations.dead_letters import listing
from operations.dead_letters.query import DeadLettersQuery
from operations.dead_letters.store import SetAsideSetAside
from operations.errors import OperationError
from schemas.text import LongWhy

_NOUN: Final = "dead letter"


class DeadLettersPage(Page[SetAsideSetAside], frozen=True):
    """Newest first; `next` is the cursor of the following page, absent on the last one."""


class DeadLettersDetail(SetAsideSetAside, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """With its record: bytes as base64, and beside them what of it can be read."""

    key: str | None
    value: str | None
    headers: list[tuple[str, str | None]]
    key_text: str | None
    excerpt: str | None


class Discard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why it is given up; kept with it."""

    reason: LongWhy


class Discarded(msgspec.Struct, frozen=True):
    id: UUID
    status: Literal["discarded"] = "discarded"


async def dead_letters(request: web.Request) -> web.Response:
    """Records that a worker could not handle and leads that a partner did not take, newest first."""
    query = query_of(request, DeadLettersQuery)
    async with reading(request) as connection:
        found = await listing.find(connection, query, query.limit + 1)
    return answer_page(DeadLettersPage, found, query.limit, lambda item: cursor_of(item.id, item.set_aside_at))


async def dead_letter(request: web.Request) -> web.Response:
    """One of them, with its record."""
    asked = asked_id(request, _NOUN)
    async with reading(request) as connection:
        found, contents = known(await listing.read(connection, asked), "no dead letter has this id")
    fields: dict[str, Any] = msgspec.structs.asdict(found)
    record = listing.record_of(contents)
    return answer(DeadLettersDetail(**fields, key_text=record.pop("keyText"), **record))


async def retry(request: web.Request) -> web.Response:
    """Send it again, once: to its worker, or in a new round of attempts. If it fails again, it becomes a new dead letter."""
    asked = asked_id(request, _NOUN)
    with _refusing():
        async with transaction(request) as connection:
            sent = await listing.retry(connection, asked, request[CALLER].secret_id)
    return answer(sent, HTTPStatus.ACCEPTED)


async def discard(request: web.Request) -> web.Response:
    """Give it up, for good."""
    asked = asked_id(request, _NOUN)
    why = await bodies.read(request, Discard)
    with _refusing():
        async with transaction(request) as connection:
            await listing.discard(connection, asked, why.reason, request[CALLER].secret_id)
    return answer(Discarded(asked))


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OperationError as error:
        raise GatewayError(Reason(error.reason), str(error)) from error
