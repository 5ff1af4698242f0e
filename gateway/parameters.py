"""Paths and queries of a route: every text in them is one that the route declares, before its handler sees it."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from multidict import MultiMapping

from gateway.errors import GatewayError, Reason
from gateway.route import ROUTES, Parameter, Route
from schemas import text

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def check_parameters(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a path or a query that holds what no handler could use, whatever the handler makes of the rest."""
    route = request.app[ROUTES].get(request.match_info.route.name or "")
    if route:
        check_path(route, request.match_info)
        check_query(route, request.query)
    return await handler(request)


def check_path(route: Route, given: Mapping[str, str]) -> None:
    """Raises GatewayError, `not_found` mostly: what can be no id names nothing."""
    for name in route.ids:
        if not text.accepts(route.id_type, given[name]):
            raise GatewayError(route.id_refusal, f"no {name} looks like this")


def check_query(route: Route, given: MultiMapping[str]) -> None:
    """Raises GatewayError `query_malformed`; a parameter that nobody knows is refused too, for it would widen what is found."""
    known = {parameter.name: parameter for parameter in route.query}
    if not known:
        return
    if unknown := set(given) - set(known):
        raise GatewayError(Reason.QUERY_MALFORMED, f"unknown: {', '.join(sorted(map(text.storable, unknown)))}")
    for name, value in given.items():
        _check(known[name], value)


def _check(parameter: Parameter, value: str) -> None:
    """A number, a time or a word of a list has a parser of its own, which says better what is expected."""
    if not text.accepts(parameter.type if parameter.is_text else text.Filter, value):
        raise GatewayError(Reason.QUERY_MALFORMED, f"{parameter.name} has characters that it cannot have, or too many of them")
