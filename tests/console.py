"""The console as a person uses it: a real gateway, a browser and a session; and checks for every screen."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg

from console.sessions import Holder, begin_session, form_token
from runtime.settings import Secret
from tests.browser import browser, opened
from tests.gateways import ADMIN
from tests.npm import npm_package

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp
    from playwright.async_api import Browser

    from console.sessions import Role
    from tests.browser import Looked
    from tests.gateways import Gateway

AXE: Final = "axe-core@4.14.1"
TOKEN: Final = ADMIN["X-Internal-Token"]
READER: Final = "reader"
WIDE, NARROW = 1280, 390
COOKIE: Final = "tallyhook_console"
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_SERIOUS: Final = ("serious", "critical")


class Answer(NamedTuple):
    """A response to a client that is no browser."""

    status: int
    text: str
    headers: Any


class Visitor:
    """A client with a session and no browser."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self.key = key
        self._gateway = gateway
        self._headers = {"Cookie": f"{COOKIE}={key}"} if key else {}
        self.form_token = form_token(key) if key else ""

    async def get(self, path: str, *, headers: Mapping[str, str] = NOTHING) -> Answer:
        return await _answer(await self._ask("GET", path, headers))

    async def post(self, path: str, *, headers: Mapping[str, str] = NOTHING, **fields: str) -> Answer:
        """Send a form, with the session's token unless the fields have another."""
        return await _answer(await self._ask("POST", path, headers, data={"form_token": self.form_token} | fields))

    async def _ask(self, method: str, path: str, headers: Mapping[str, str] = NOTHING, **more: Any) -> aiohttp.ClientResponse:
        url, sent = self._gateway.internal + path, {**self._headers, **headers}
        return await self._gateway.client.request(method, url, headers=sent, allow_redirects=False, **more)


async def visitor(gateway: Gateway, database_url: str, role: Role | None = "admin", token: str = "") -> Visitor:
    """Return a client with a session of that role, or with none."""
    if role is None:
        return Visitor(gateway, "")
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        return Visitor(
            gateway, await begin_session(connection, Holder(role, Secret(token or (READER if role == "reader" else TOKEN)).id))
        )


@asynccontextmanager
async def signed_in(gateway: Gateway, path: str = "/console/overview", *, width: int = WIDE) -> AsyncIterator[Looked]:
    """Open a page of the console in a browser and sign in by typing the token."""
    async with browser() as chromium, seen(chromium, gateway, path, width=width) as looked:
        yield looked


@asynccontextmanager
async def seen(
    chromium: Browser, gateway: Gateway, path: str, *, width: int = WIDE, scheme: str = "light"
) -> AsyncIterator[Looked]:
    """Sign in with the form, which leads to the requested page."""
    async with opened(chromium, f"{gateway.internal}/console/sign-in?next={path}", width=width) as looked:
        await looked.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
        await looked.page.get_by_label("Token").fill(TOKEN)
        await looked.page.get_by_role("button", name="Sign in").click()
        await looked.page.wait_for_url(f"{gateway.internal}{path}")
        await looked.page.wait_for_load_state("networkidle")
        yield looked


async def assert_sound(gateway: Gateway, path: str) -> None:
    """
    Assert what is true of every screen, on a screen and on a phone, light and dark.

    No message in the console, no request elsewhere, nothing that reaches out of the window, no figure broken within a word, and
    no serious finding of axe.
    """
    async with browser() as chromium:
        for width in (WIDE, NARROW):
            for scheme in ("light", "dark"):
                async with seen(chromium, gateway, path, width=width, scheme=scheme) as looked:
                    found = (looked.faults, await looked.overflowing(), await looked.crushed(), await barriers(looked))
                    assert found == ([], [], [], []), f"{path} at {width}, {scheme}: {found}"


async def barriers(looked: Looked) -> list[str]:
    """Return the serious accessibility problems that axe finds, each with its element."""
    script = (npm_package(AXE) / "node_modules/axe-core/axe.min.js").read_text()
    await looked.page.evaluate(script)  # by the browser's protocol: the page's policy allows no other scripts
    # The content of a mail is in a sandboxed frame, which axe cannot inspect.
    result = await looked.page.evaluate("axe.run(document, { resultTypes: ['violations'], iframes: false })")
    return [
        f"{violation['id']}: {node['html']}"
        for violation in result["violations"]
        if violation["impact"] in _SERIOUS
        for node in violation["nodes"]
    ]


def scripts_of(text: str) -> list[str]:
    """The inline scripts and handlers of a page, of which there must be none."""
    return re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|\son[a-z]+=|javascript:", text, re.IGNORECASE)


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    return Answer(response.status, await response.text(), response.headers)
