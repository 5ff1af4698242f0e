"""A part of a screen that reloads by itself waits for a detail that is open in it, unless the detail stays open by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.browser import browser, opened

STATIC: Final = Path(__file__).parents[3] / "console" / "static"
PAGE: Final = """<!doctype html><p id="said"></p><p id="lost" hidden></p>
<section id="stays" hx-get="/part/stays" hx-trigger="load, every 100ms"></section>
<section id="plain" hx-get="/part/plain" hx-trigger="load, every 100ms"></section>
<script src="/static/vendor/htmx.min.js"></script><script src="/static/console.js"></script>"""
PART: Final = '<b>{number}</b><details class="{kind}"><summary>More</summary>Text</details>'
LOADED: Final = """() => document.querySelectorAll("details").length === 2"""
OPEN: Final = """() => { for (const each of document.querySelectorAll("details")) each.open = true; }"""
NUMBERS: Final = """() => Object.fromEntries([...document.querySelectorAll("section")].map(
  (part) => [part.id, part.querySelector("details").open ? Number(part.querySelector("b").textContent) : "closed"]))"""
LATER: Final = """(number) => Number(document.querySelector("#stays b").textContent) > number"""


async def test_alerts_reload_beside_an_open_detail_that_stays() -> None:
    asked = dict.fromkeys(("stays", "plain"), 0)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def part(request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        asked[kind] += 1
        return web.Response(text=PART.format(number=asked[kind], kind=kind), content_type="text/html")

    application = web.Application()
    application.add_routes([web.get("/", page), web.get("/part/{kind}", part), web.static("/static", STATIC)])
    async with (
        TestServer(application) as server,
        browser() as chromium,
        opened(chromium, str(server.make_url("/")), width=800) as looked,
    ):
        await looked.page.wait_for_function(LOADED)
        await looked.page.evaluate(OPEN)
        before = await looked.page.evaluate(NUMBERS)
        await looked.page.wait_for_function(LATER, arg=before["stays"] + 3)
        after = await looked.page.evaluate(NUMBERS)
        assert (after["stays"] > before["stays"], after["plain"], looked.faults) == (True, before["plain"], [])
