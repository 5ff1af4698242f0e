"""The console as an application below `/console` of the internal listener."""

from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from console import assets, sign_in
from console.live import add_live
from console.middleware import guard, protect
from console.pages import SCREENS, redirect
from console.screens import (
    audit,
    config,
    dead_letters,
    deliveries,
    find,
    journey,
    leads,
    money,
    notifications,
    overview,
    partners,
    replay,
    settings,
    streams,
)
from gateway.keys import READS

SCREENS_SHOWN: Final = (
    overview.SCREEN,
    find.SCREEN,
    deliveries.SCREEN,
    dead_letters.SCREEN,
    replay.SCREEN,
    partners.SCREEN,
    leads.SCREEN,
    money.SCREEN,
    notifications.SCREEN,
    streams.SCREEN,
    settings.SCREEN,
    config.SCREEN,
    audit.SCREEN,
    journey.SCREEN,
)
"""The screens, in the order of the navigation of every page."""


def add_console(app: web.Application) -> None:
    """Serve the console below the application, whose app keys must be set before."""
    console = web.Application(middlewares=[guard])
    for key, tool in app.items():
        console[key] = tool
    console.on_response_prepare.append(protect)
    console[SCREENS] = SCREENS_SHOWN
    console[sign_in.ATTEMPTS] = sign_in.attempts()
    console[overview.ACCOUNT] = overview.shared_account(app[READS])
    console[overview.TRAFFIC] = overview.shared_traffic(app[READS])
    console.cleanup_ctx.append(_close)
    console.add_routes(
        [
            web.get("", _home, name="console"),
            web.get("/", _home),
            web.get("/static/{digest}/{name}", assets.serve_asset, name="console_static"),
            web.get("/sign-in", sign_in.show_form, name="console_sign_in"),
            web.post("/sign-in", sign_in.sign_in),
            web.post("/sign-out", sign_in.sign_out, name="console_sign_out"),
            *(route for screen in SCREENS_SHOWN for route in screen.routes),
        ]
    )
    add_live(console)
    app.add_subapp("/console", console)


async def _home(_: web.Request) -> web.Response:
    return redirect(sign_in.HOME)


async def _close(console: web.Application) -> AsyncIterator[None]:
    yield
    await console[overview.ACCOUNT].close()
    await console[overview.TRAFFIC].close()
    await console[sign_in.ATTEMPTS].close()
