"""The routes that list, read, retry and discard dead letters."""

from http import HTTPStatus
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.answers import answer, answer_page, id_in_path, require
from gateway.commands.acceptance import command_id, is_repeated
from gateway.errors import refusing
from gateway.keys import CALLER
from gateway.paging import Page, cursor_of
from gateway.parameters import query_of
from gateway.postgres import reading, transaction
from operations.dead_letters import listing
from operations.dead_letters.query import DeadLettersQuery
from operations.dead_letters.store import DeadLetter
from operations.errors import OperationError
from schemas.text import LongReasonText

_NOUN: Final = "dead letter"


class DeadLettersPage(Page[DeadLetter], frozen=True):
    """One page of the dead letters, newest first."""


class DeadLettersDetail(DeadLetter, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The dead letter with its record."""

    key: str | None  #: The record's key in base64; null if it has none.
    value: str | None  #: The record's value in base64; null if it has none.
    headers: list[tuple[str, str | None]]  #: Name and value of each header; values in base64, or null.
    key_text: str | None  #: The key as text; null if it is not UTF-8.
    excerpt: str | None  #: The beginning of the value as text, up to 2000 bytes; null if it is not UTF-8.


class Discard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason for discarding a dead letter."""

    reason: LongReasonText  #: Why the dead letter is discarded.


class Discarded(msgspec.Struct, frozen=True):
    """The dead letter is discarded for good."""

    id: UUID  #: The id of the dead letter.
    status: Literal["discarded"] = "discarded"  #: Always `discarded`.


async def dead_letters(request: web.Request) -> web.Response:
    """
    List the dead letters, newest first.

    These are records that a worker could not handle, and leads that a partner did not accept.
    """
    query = query_of(request, DeadLettersQuery)
    async with reading(request) as connection:
        found = await listing.find(connection, query, query.limit + 1)
    return answer_page(DeadLettersPage, found, query.limit, lambda item: cursor_of(item.id, item.set_aside_at))


async def dead_letter(request: web.Request) -> web.Response:
    """
    Read one dead letter with its record.

    Bytes are in base64; text is shown next to them if they are UTF-8.
    """
    letter_id = id_in_path(request, _NOUN)
    async with reading(request) as connection:
        found, contents = require(await listing.read(connection, letter_id), "no dead letter has this id")
    fields: dict[str, Any] = msgspec.structs.asdict(found)
    record = listing.record_of(contents)
    return answer(DeadLettersDetail(**fields, key_text=record.pop("keyText"), **record))


async def retry(request: web.Request) -> web.Response:
    """
    Send a dead letter again.

    A record goes to its worker again; a lead gets a new round of attempts. A record that fails again becomes a new dead letter.
    """
    letter_id = id_in_path(request, _NOUN)
    with refusing(OperationError):
        async with transaction(request) as connection:
            sent = await listing.retry(
                connection, letter_id, request[CALLER].secret_id, command=command_id(request), again=is_repeated(request)
            )
    return answer(sent, HTTPStatus.ACCEPTED)


async def discard(request: web.Request) -> web.Response:
    """
    Discard a dead letter for good.

    The record stays readable, and the ledger counts it as discarded. It cannot be retried afterwards.
    """
    letter_id = id_in_path(request, _NOUN)
    why = await bodies.read(request, Discard)
    with refusing(OperationError):
        async with transaction(request) as connection:
            await listing.discard(connection, letter_id, why.reason, request[CALLER].secret_id, again=is_repeated(request))
    return answer(Discarded(letter_id))
