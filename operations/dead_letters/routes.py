"""What was set aside: found, looked at, sent out again, or given up."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, Literal, get_args
from uuid import UUID

import msgspec
from aiohttp import web

from gateway import bodies
from gateway.errors import GatewayError, Reason
from gateway.keys import CALLER
from gateway.paging import OF_PAGES, id_of, names_of, parse_limit, parse_period
from gateway.postgres import command_transaction
from gateway.route import Parameter
from operations.dead_letters import listing
from operations.dead_letters.causes import Fault
from operations.dead_letters.listing import SetAsideSetAside
from operations.dead_letters.store import Search, Status
from operations.errors import OperationError
from schemas.text import Filter, LongWhy

PARAMETERS: Final = (
    Parameter("status", Status, "Only dead letters with this status."),
    Parameter("consumer", Filter, "Only dead letters of this worker role."),
    Parameter("reason", Filter, "Only dead letters with this reason."),
    Parameter("topic", Filter, "Only dead letters of records of this topic."),
    Parameter("fault", Fault, "Only dead letters that we have to repair (`ours`) or a provider or partner (`theirs`)."),
    *OF_PAGES,
)
_EVER: Final = timedelta(days=3660)
_LAST: Final = UUID(int=(1 << 128) - 1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_BYTES: Final = 8
_NOUN: Final = "dead letter"


class DeadLettersPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One page of the dead letters, newest first."""

    items: list[SetAsideSetAside]  #: The dead letters.
    next: str | None = None  #: The cursor of the following page; absent on the last page.


class DeadLettersDetail(SetAsideSetAside, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The dead letter with its record."""

    key: str | None  #: The record's key in base64; null if it has none.
    value: str | None  #: The record's value in base64; null if it has none.
    headers: list[tuple[str, str | None]]  #: Name and value of each header; values in base64, or null.
    key_text: str | None  #: The key as text; null if it is not UTF-8.
    excerpt: str | None  #: The beginning of the value as text, up to 2000 bytes; null if it is not UTF-8.


class Discard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason for discarding a dead letter."""

    reason: LongWhy  #: Why the dead letter is discarded.


class Discarded(msgspec.Struct, frozen=True):
    """The dead letter is discarded for good."""

    id: UUID  #: The id of the dead letter.
    status: Literal["discarded"] = "discarded"  #: Always `discarded`.


async def dead_letters(request: web.Request) -> web.Response:
    """
    List the dead letters, newest first.

    These are records that a worker could not handle, and leads that a partner did not accept.
    """
    search = _search(request)
    async with command_transaction(request) as connection:
        found = await listing.find(connection, search._replace(limit=search.limit + 1))
    items = found[: search.limit]
    page = DeadLettersPage(items, _cursor_of(items[-1]) if len(found) > search.limit else None)
    return web.json_response(body=msgspec.json.encode(page))


async def dead_letter(request: web.Request) -> web.Response:
    """
    Read one dead letter with its record.

    Bytes are in base64; text is shown next to them if they are UTF-8.
    """
    asked = id_of(request.match_info["id"], _NOUN)
    async with command_transaction(request) as connection:
        found = await listing.read(connection, asked)
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "nothing that was set aside has this id")
    fields: dict[str, Any] = msgspec.structs.asdict(found[0])
    record = listing.record_of(found[1])
    detail = DeadLettersDetail(**fields, key_text=record.pop("keyText"), **record)
    return web.json_response(body=msgspec.json.encode(detail))


async def retry(request: web.Request) -> web.Response:
    """
    Send a dead letter again.

    A record goes to its worker once more; a lead gets a new round of attempts. A record that fails again becomes a new dead
    letter.
    """
    asked = id_of(request.match_info["id"], _NOUN)
    with _refusing():
        async with command_transaction(request) as connection:
            sent = await listing.retry(connection, asked, request[CALLER].secret_id)
    return web.json_response(status=HTTPStatus.ACCEPTED, body=msgspec.json.encode(sent))


async def discard(request: web.Request) -> web.Response:
    """
    Discard a dead letter for good.

    The record stays readable, and the ledger counts it as discarded. It cannot be retried afterwards.
    """
    asked = id_of(request.match_info["id"], _NOUN)
    why = await bodies.read(request, Discard)
    with _refusing():
        async with command_transaction(request) as connection:
            await listing.discard(connection, asked, why.reason, request[CALLER].secret_id)
    return web.json_response(body=msgspec.json.encode(Discarded(asked)))


def _search(request: web.Request) -> Search:
    given, now = request.query, datetime.now(UTC)
    if unknown := set(given) - names_of(PARAMETERS):
        raise GatewayError(Reason.QUERY_MALFORMED, f"unknown: {', '.join(sorted(unknown))}")
    for name, words in (("status", get_args(Status)), ("fault", get_args(Fault))):
        if given.get(name) not in (None, *words):
            raise GatewayError(Reason.QUERY_MALFORMED, f"{name} is one of {', '.join(words)}")
    begin, end = parse_period(given, now + timedelta(minutes=1), _EVER)
    cursor = given.get("cursor")
    before = min((end, _LAST), _place_of(cursor)) if cursor else (end, _LAST)
    return Search(
        begin,
        before,
        parse_limit(given),
        status=given.get("status"),
        consumer=given.get("consumer"),
        reason=given.get("reason"),
        topic=given.get("topic"),
        fault=given.get("fault"),
    )


def _cursor_of(item: SetAsideSetAside) -> str:
    """Leads to what was set aside before the item."""
    micros = (item.set_aside_at - _EPOCH) // timedelta(microseconds=1)
    return urlsafe_b64encode(micros.to_bytes(_TIME_BYTES) + item.id.bytes).decode()


def _place_of(cursor: str) -> tuple[datetime, UUID]:
    try:
        raw = urlsafe_b64decode(cursor)
        micros = int.from_bytes(raw[:_TIME_BYTES])
        return _EPOCH + timedelta(microseconds=micros), UUID(bytes=raw[_TIME_BYTES:])
    except (ValueError, OverflowError) as error:
        raise GatewayError(Reason.QUERY_MALFORMED, "cursor is not one that was given out") from error


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except OperationError as error:
        raise GatewayError(Reason(error.reason), str(error)) from error
