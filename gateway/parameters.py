"""Paths and queries: they are checked against the declaration of the route before its handler is called."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.route import ROUTES, Route
from runtime.moments import time_of
from schemas import text
from schemas.fields import FieldMalformed, Record, record_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_QUERY: Final = web.RequestKey("query", msgspec.Struct)


@web.middleware
async def check_parameters(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse an invalid path or query, and store the query as the record that the route declares."""
    route = request.app[ROUTES].get(request.match_info.route.name or "")
    if route:
        check_path(route, request.match_info)
        if route.query:
            request[_QUERY] = parse_query(route.query, request.query.items())
    return await handler(request)


def query_of(request: web.Request, record: type[Record]) -> Record:
    """The query of the request, whose route declares this record."""
    found = request[_QUERY]
    if not isinstance(found, record):
        raise TypeError(f"the route's query is {type(found).__name__}, not {record.__name__}")
    return found


def check_path(route: Route, given: Mapping[str, str]) -> None:
    """Raises GatewayError, mostly `not_found`, for a text that cannot be an id."""
    for name in route.ids:
        if not text.accepts(route.id_type, given[name]):
            raise GatewayError(route.id_refusal, f"no {name} looks like this")


def parse_query(record: type[Record], given: Iterable[tuple[str, str]]) -> Record:
    """The record that a query states. Raises GatewayError `query_malformed`."""
    try:
        return record_of(record, given, time_of)
    except FieldMalformed as error:
        raise GatewayError(Reason.QUERY_MALFORMED, str(error)) from error
