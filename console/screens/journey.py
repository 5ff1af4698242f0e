"""The journey of one event: from the HTTP call that delivered it to its last effect."""

from typing import Final

from aiohttp import web

from console.links import page_of
from console.pages import SESSION, Screen, page
from console.timeline import timeline, tree
from gateway.answers import require
from gateway.paging import id_of
from gateway.postgres import reading
from operations.deliveries import store
from operations.events.routes import detail
from schemas import text


async def journey(request: web.Request) -> web.Response:
    """Show the page, which reloads its steps, since effects happen later."""
    return await _journey(request, "journey.html")


async def steps(request: web.Request) -> web.Response:
    """Show the timeline and the tree as they are now."""
    return await _journey(request, "_steps.html")


async def body(request: web.Request) -> web.Response:
    """Show the body of a delivery, if the session may see bodies."""
    asked = id_of(request.match_info["id"], "delivery")
    if not request[SESSION].changes:
        return page(request, "_body.html", body=None)
    async with reading(request) as connection:
        return page(request, "_body.html", body=require(await store.body(connection, asked), "no body is kept for this id"))


async def _journey(request: web.Request, template: str) -> web.Response:
    asked = request.match_info["id"]
    async with reading(request) as connection:
        found = await detail(connection, require(asked if text.accepts(text.Id, asked) else None, "this is not a valid id"))
    return page(request, template, found=found, steps=timeline(found), tree=tree(found), page_of=page_of)


SCREEN: Final = Screen(
    "",
    "/console/journey",
    (
        web.get("/journey/{id}", journey, name="console_journey"),
        web.get("/journey/{id}/steps", steps, name="console_journey_steps"),
        web.get("/journey/{id}/body", body, name="console_journey_body"),
    ),
)
