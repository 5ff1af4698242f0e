"""Bytes that are no text, in every part of every console route, are refused with a page that does not repeat them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
import structlog
from yarl import URL

from gateway.settings import GatewaySettings
from ops.processes.applications import build_internal
from tests.console import COOKIE, READER, visitor
from tests.integration.gateway.test_awkward_texts import HEADERS, RAW
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.console import Visitor
    from tests.gateways import Gateway, StartGateway

ID: Final = b"01936d3e-0000-7000-8000-000000000000"
MARK: Final = b"repeated"
NO_TEXT: Final = (b"\xff", b"\xed\xa0\x80")
NO_FORM: Final = (*NO_TEXT, b"%00", b"\x00", b"%FF", b"%ED%A0%80")
QUOTED: Final = (b"%ED%A0%80", b"%0A", b"\xf0\x9f\x92\xa9")
NAMES: Final = (b"key", b"q", b"locale", b"source", b"next", b"setting", b"limit", b"from", b"cursor", b"status", b"user")
OPEN: Final = (b"/console/static/", b"/console/sign-in")


class Answer(NamedTuple):
    """A response; its head shows whether it is a page."""

    status: int
    head: bytes
    body: bytes

    def refuses(self, status: int, reason: str) -> bool:
        """True if it is a page of this refusal, which repeats nothing of what came."""
        sound = b"text/html" in self.head and MARK not in self.head + self.body
        return (self.status, sound) == (status, True) and reason.encode() in self.body


class Doors(NamedTuple):
    """The console with its routes, and its sessions."""

    gateway: Gateway
    routes: list[tuple[bytes, bytes]]
    visitors: dict[str, Visitor]


@pytest.fixture
async def doors(start_gateway: StartGateway, database_url: str, lenient_parser: None) -> AsyncIterator[Doors]:
    """A console whose log must have no unexpected failure of a request."""
    del lenient_parser
    with structlog.testing.capture_logs() as lines:
        async with start_gateway(READ_API_TOKEN=READER) as gateway:
            visitors = {role or "nobody": await visitor(gateway, database_url, role) for role in (None, "reader", "admin")}
            yield Doors(gateway, _routes(gateway, database_url), visitors)
    assert [line for line in lines if line["event"] == "request_failed"] == []


def _routes(gateway: Gateway, database_url: str) -> list[tuple[bytes, bytes]]:
    """Every method and path that the router of the internal listener has for the console."""
    environ = {"DATABASE_URL": database_url, "STRIPE_WEBHOOK_SECRET": "s", "INTERNAL_API_TOKEN": "i", "ADMIN_API_TOKEN": "a"}
    app = build_internal(GatewaySettings.load(environ), gateway.resources)
    found = ((route.method, route.resource.canonical) for route in app.router.routes() if route.resource)
    ours = {(method, path) for method, path in found if path.startswith("/console") and method != "HEAD"}
    return [(method.encode(), path.encode()) for method, path in sorted(ours)]


async def send(
    doors: Doors, method: bytes, path: bytes, *, who: str, form: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Answer:
    """Send bytes that no browser would; wait only for the head of a stream."""
    visitor = doors.visitors[who]
    sent = {b"Host": b"gateway", b"Content-Type": b"application/x-www-form-urlencoded"}
    sent |= {b"Cookie": f"{COOKIE}={visitor.key}".encode()} if visitor.key else {}
    sent |= dict(headers) | {b"Content-Length": b"%d" % len(form), b"Connection": b"close"}
    lines = [b"%s %s HTTP/1.1" % (method, path), *(b"%s: %s" % field for field in sent.items()), b"", form]
    url = URL(doors.gateway.internal)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(b"\r\n".join(lines))
        async with asyncio.timeout(LIMIT):
            head = await reader.readuntil(b"\r\n\r\n")
            body = b"" if b"text/event-stream" in head else await reader.read()
    finally:
        writer.close()
    return Answer(int(head.split()[1]), head, body)


def filled(path: bytes, text: bytes = ID) -> bytes:
    return re.sub(rb"\{\w+\}", lambda _: text, path)


def paths_with(path: bytes, text: bytes) -> list[bytes]:
    """Yield paths with the text in each id, and after the path."""
    return [filled(path, text)] * (b"{" in path) + [filled(path) + b"/" + text]


def queries_with(path: bytes, text: bytes) -> list[bytes]:
    return [filled(path) + b"?" + query for query in (*(b"%s=%s" % (name, text) for name in NAMES), text + b"=1", text)]


async def test_bytes_that_are_no_text_are_refused_before_anything_else(doors: Doors) -> None:
    wrong = {}
    for method, path in doors.routes:
        for text in NO_TEXT:
            asked = [(each, "request_malformed") for each in paths_with(path, MARK + text)]
            asked += [(each, "query_malformed") for each in queries_with(path, MARK + text)[-4:]]
            for address, reason in asked:
                for who in doors.visitors:
                    answer = await send(doors, method, address, who=who)
                    if not answer.refuses(400, reason):
                        wrong[method, address, who] = answer
    assert wrong == {}
    assert {path for _, path in doors.routes} >= {b"/console/overview", b"/console/live", b"/console/notifications/contacts/{id}"}


REPEATED: Final = (
    b"/console/overview?x=", b"/console/", b"/console/settings/config?key=", b"/console/find?q=",
    b"/console/notifications/templates/payment-failed?locale=", b"/console/deliveries?source=", b"/console/sign-in?next=",
)  # fmt: skip


async def test_a_part_of_a_page_is_refused_in_its_place(doors: Doors) -> None:
    """These are addresses that a page repeats."""
    for address in REPEATED:
        for who in doors.visitors:
            for headers in ((), ((b"HX-Request", b"true"),)):
                answer = await send(doors, b"GET", address + b"\xff", who=who, headers=headers)
                reason = "query_malformed" if b"?" in address else "request_malformed"
                assert (answer.refuses(400, reason), b"<html" in answer.body) == (True, not headers), (address, who, answer)


async def test_a_nul_is_refused_as_the_api_refuses_it(doors: Doors) -> None:
    wrong = {}
    for method, path in doors.routes:
        asked = [(each, 404, "not_found") for each in paths_with(path, MARK + b"%00")]
        asked += [(each, 400, "query_malformed") for each in queries_with(path, MARK + b"%00")[-4:]]
        for address, status, reason in asked:
            for who in doors.visitors:
                answer = await send(doors, method, address, who=who)
                if not answer.refuses(status, reason):
                    wrong[method, address, who] = answer
    assert wrong == {}


async def test_no_text_that_is_quoted_is_an_error_of_ours(doors: Doors) -> None:
    wrong = {}
    for method, path in doors.routes:
        for text in QUOTED if method == b"GET" else ():
            for address in paths_with(path, text) + queries_with(path, text):
                answer = await send(doors, method, address, who="admin")
                if answer.status >= 500:
                    wrong[method, address] = answer
    assert wrong == {}


async def test_a_form_that_is_no_text_changes_nothing(doors: Doors) -> None:
    """A browser quotes what it sends; aiohttp would put another character in the place of quoted bytes."""
    wrong = {}
    token = doors.visitors["admin"].form_token.encode()
    posts = [path for method, path in doors.routes if method == b"POST" and not path.startswith(OPEN)]
    for path in posts:
        for text in NO_FORM:
            for fields in (b"reason=" + MARK + text, MARK + text + b"=1"):
                answer = await send(doors, b"POST", filled(path), who="admin", form=b"form_token=%s&%s" % (token, fields))
                if not answer.refuses(400, "request_malformed"):
                    wrong[path, fields] = answer
    assert (wrong, len(posts) > 5) == ({}, True)
    assert (await send(doors, b"GET", b"/console/overview", who="admin")).status == 200  # one of the paths signs out


async def test_a_token_that_is_no_text_opens_nothing(doors: Doors) -> None:
    answers = [await send(doors, b"POST", b"/console/sign-in", who="nobody", form=b"token=" + MARK + text) for text in NO_FORM]
    assert [(each.refuses(400, "The form"), b"Set-Cookie" in each.head) for each in answers] == [(True, False)] * len(NO_FORM)


async def test_a_form_in_another_language_is_taken(doors: Doors) -> None:
    form = b"form_token=%s&key=a&value=\xe2\x82\xac%%E2%%82%%AC+x" % doors.visitors["admin"].form_token.encode()
    answer = await send(doors, b"POST", b"/console/settings/config", who="admin", form=form)
    assert answer.status == 200, answer.body
    assert [row["value"] for row in await doors.gateway.rows("config")] == ["€€ x"]


async def test_a_cookie_that_is_no_text_is_no_session(doors: Doors) -> None:
    key = doors.visitors["admin"].key.encode()
    statuses = {}
    for method, path in doors.routes:
        for text in (b"\xff", key + b"\xff", b"\xff" + key, b"\xed\xa0\x80", b"%00", b'"\xff"', b'"\\377"'):
            cookie = ((b"Cookie", COOKIE.encode() + b"=" + text),)
            statuses[method, path, text] = (await send(doors, method, filled(path), who="nobody", headers=cookie)).status
    asked = {call: status for call, status in statuses.items() if not call[1].startswith(OPEN)}
    assert {*asked.values()} == {401}
    assert [call for call, status in statuses.items() if status >= 500] == []


async def test_no_text_in_a_header_is_an_error_of_ours(doors: Doors) -> None:
    wrong = {}
    names = {*HEADERS, "X-Form-Token", "HX-Request", "Sec-Fetch-Site", "Accept-Language", "Referer"}
    for method, path in ((b"GET", b"/console/overview"), (b"POST", b"/console/settings/config"), (b"POST", b"/console/sign-in")):
        for name in sorted(names):
            for value in RAW:
                answer = await send(doors, method, path, who="admin", headers=((name.encode(), value),))
                if answer.status >= 500:
                    wrong[path, name, value] = answer
    assert wrong == {}
