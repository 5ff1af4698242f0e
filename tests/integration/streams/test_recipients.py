"""A provider gets the recipient unchanged, byte for byte; a recipient that Apprise would change is not sent to."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.notifications.mails import Message
from streams.notifications.senders import ProviderSender, SendFailed
from streams.notifications.texts import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKENS: Final = (
    "%26", "%2526", "%00", "%", "%zz", "a&b", "a=b&:to=c", "a+b", "a/b", "../admin", "..", ".", "a#b", "a?b", "a:b",
    "a@b", "a b", " a ", "a\tb", "tökenß", "名前☃", "a,b", "a;b", "a[b]", "\\", '"', "'", "{to}", "{id}", "<x>", "a%2Fb",
    "a//b", "-", "~_.", "dGVzdA==", "+4915112345678", "c7Gk3v:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx",
)  # fmt: skip
TEMPLATES: Final = (
    "json://{host}/push", "form://{host}/push", "json://{host}/push/{{to}}", "form://{host}/{{to}}/x",
    "json://{host}/push?:to={{to}}", "json://{host}/push?-to={{to}}",
)  # fmt: skip


class Arrived(NamedTuple):
    """A request as it came."""

    path: str
    body: bytes

    def recipient(self, template: str) -> str:
        if "/{{to}}" in template:
            return unquote(self.path.split("/")[1 if template.endswith("/x") else 2], errors="strict")
        if "-to=" in template:
            return parse_qs(urlsplit(self.path).query, keep_blank_values=True)["to"][0]
        if template.startswith("form"):
            return parse_qs(self.body.decode(), keep_blank_values=True)["to"][0]
        return str(json.loads(self.body)["to"])


class Provider(ThreadingHTTPServer):
    """Accepts every request and keeps it."""

    arrived: list[Arrived]


class Door(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.arrived.append(Arrived(self.path, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    server = Provider(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def reached(provider: Provider, template: str, token: str) -> bool:
    """Report whether it was sent; if so, exactly this recipient got it and no other."""
    provider.arrived = []
    sender = ProviderSender(template.format(host=f"127.0.0.1:{provider.server_port}"), 20, 1)
    try:
        asyncio.run(sender.send(Message("<1@x>", token, Text("hello", "a subject"))))
    except SendFailed as failure:
        assert (failure.reason, failure.permanent) == ("address_invalid", True), failure  # noqa: PT017  # both outcomes are right
        assert provider.arrived == []
        return False
    finally:
        sender.close()
    [request] = provider.arrived
    assert request.recipient(template) == token
    return True


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_token_arrives_as_it_is_or_is_refused(provider: Provider, template: str) -> None:
    sent = [token for token in TOKENS if reached(provider, template, token)]
    assert {"%26", "%2526", "a&b", "a=b&:to=c", "a+b", "a/b", "a#b", "a?b", "a:b", "a@b", "dGVzdA==", "+4915112345678"} <= {*sent}
    assert ".." not in sent


@given(token=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("template", TEMPLATES[:3])
def test_with_any_token_no_other_recipient_gets_it(provider: Provider, template: str, token: str) -> None:
    reached(provider, template, token)
