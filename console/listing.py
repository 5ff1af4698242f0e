"""The page of a list: its filters, the matching items, and the link to the next page."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from aiohttp import web
from psycopg import AsyncConnection

from console.filters import given
from console.pages import page
from gateway.errors import GatewayError, Reason
from gateway.parameters import parse_query
from gateway.postgres import reading
from operations.state.query import StateQuery, cursor_after
from projections import lists

Query = TypeVar("Query", bound=msgspec.Struct)
_ANY: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


class Found(NamedTuple):
    """The items of a page, and the cursor of the next page; None on the last page."""

    items: Sequence[Any]
    cursor: str | None


async def list_page(
    request: web.Request,
    template: str,
    query: type[Query],
    read: Callable[[AsyncConnection, Query], Awaitable[Found]],
    *,
    choices: Mapping[str, Sequence[str]] = _ANY,
    **values: Any,
) -> web.Response:
    """
    Render the template with the `items` that `read` finds, the filters as `given`, and `following`, the query of the next page.

    If a filter is invalid, `complaint` has the message and `items` is empty. A filter in `choices` offers these words.
    """
    filters = given(request, query, choices)
    try:
        asked = parse_query(query, filters.values.items())
        async with reading(request) as connection:
            found = await read(connection, asked)
    except GatewayError as error:
        if error.reason is not Reason.QUERY_MALFORMED:
            raise
        complaint = str(error)
        return page(request, template, status=error.status, **values, given=filters, complaint=complaint, items=[], following="")
    following = filters.with_cursor(found.cursor)
    return page(request, template, **values, given=filters, complaint="", items=found.items, following=following)


def of_state(which: lists.List[Any]) -> Callable[[AsyncConnection, StateQuery], Awaitable[Found]]:
    """Return the `read` of a list of current state."""

    async def read(connection: AsyncConnection, query: StateQuery) -> Found:
        found = await lists.read(connection, which, query.list_query(datetime.now(UTC)))
        return Found(found.items, cursor_after(found.last))

    return read
