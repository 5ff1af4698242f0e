"""A search field for any id or address, which opens the page of a single match or lists all matches."""

from typing import Final

from aiohttp import web

from console.links import page_of
from console.pages import Screen, page, redirect
from gateway.errors import GatewayError
from gateway.parameters import parse_query
from gateway.postgres import reading
from operations.find import store
from operations.find.query import FindQuery


async def find(request: web.Request) -> web.Response:
    """Show the matches; if there is only one and it has a page, open that page."""
    wanted = request.query.get("q", "").strip()
    if not wanted:
        return page(request, "find.html", wanted="", findings=None, complaint="", page_of=page_of)
    try:
        query = parse_query(FindQuery, [("q", wanted)])
    except GatewayError as error:
        return page(
            request, "find.html", status=error.status, wanted=wanted, findings=None, complaint=str(error), page_of=page_of
        )
    async with reading(request) as connection:
        found = await store.find(connection, query)
    if len(found) == 1 and (path := page_of(found[0].kind, found[0].id)):
        return redirect(path)
    return page(request, "find.html", wanted=wanted, findings=found, complaint="", page_of=page_of)


SCREEN: Final = Screen("Find", "/console/find", (web.get("/find", find, name="console_find"),))
