"""Answers in JSON: a record, or a page of a list."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from uuid import UUID

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.paging import Item, Page, cursor_of, id_of


def answer(record: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """The record as JSON."""
    return web.json_response(status=status, body=msgspec.json.encode(record))


def id_in_path(request: web.Request, noun: str) -> UUID:
    """The one id in the path. Raises GatewayError `not_found`."""
    (text,) = request.match_info.values()
    return id_of(text, noun)


def require(found: Item | None, absent: str) -> Item:
    """The item, if there is one. Raises GatewayError `not_found` with the text `absent` if not."""
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, absent)
    return found


def answer_page(
    page: type[Page[Item]], found: Sequence[Item], limit: int, cursor: Callable[[Item], str], *, more: bool | None = None
) -> web.Response:
    """A page of at most `limit` items. Another page follows if `found` has more items than that, or as `more` states."""
    items = list(found[:limit])
    more = len(found) > limit if more is None else more
    return answer(page(items, cursor(items[-1]) if more else None))


def by_id(item: object) -> str:
    """The cursor of an item, in a list that is ordered by id."""
    found: UUID = item.id  # type: ignore[attr-defined]  # every record of such a list has one
    return cursor_of(found)
