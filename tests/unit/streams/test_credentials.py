"""Whatever the token endpoint answers, a worker has a token or an error after which aiokafka connects again."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runtime.kafka import OAuth
from runtime.settings import Secret
from streams.credentials import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def endpoint(body: bytes, status: int = 200) -> AsyncIterator[Tokens]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_post("/token", answer)
    async with TestServer(app) as server:
        yield Tokens(OAuth(str(server.make_url("/token")), "tallyhook", Secret("secret"), None))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>maintenance</html>", 200),
        (b"", 200),
        (b"{}", 200),
        (b'{"access_token":null}', 200),
        (b'{"access_token":"\xff"}', 200),
        (b'{"access_token":"t","x":' + b"[" * 100_000, 200),
        (b'{"access_token":"t","expires_in":"soon"}', 200),
        (b'{"error":"invalid_client"}', 401),
        (b"busy", 503),
    ],
)
async def test_an_answer_without_a_token_is_an_error_after_which_aiokafka_connects_again(body: bytes, status: int) -> None:
    async with endpoint(body, status) as tokens:
        with pytest.raises(ConnectionError, match="the token endpoint gives no token"):
            await tokens.token()


@pytest.mark.parametrize("life", [b'"3600"', b"3600", b"null", b"-1", b"1e308", b'"nan"', b'"inf"', b"0"])
async def test_a_life_in_any_notation_is_a_life_of_at_most_a_day(life: bytes) -> None:
    async with endpoint(b'{"access_token":"t","expires_in":' + life + b"}") as tokens:
        token, seconds = await tokens._fetch()
        assert (token, 0 <= seconds <= 86_400) == ("t", True)
