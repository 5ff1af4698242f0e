"""Who gets into the console, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from console.sessions import Holder, forget_keys, make_link
from runtime.settings import Secret
from tests.browser import browser, opened
from tests.console import COOKIE, READER, TOKEN, Visitor, signed_in, visitor
from tests.gateways import SERVICE

if TYPE_CHECKING:
    from tests.gateways import Gateway, StartGateway

OVERVIEW = "/console/overview"


async def link_of(database_url: str) -> str:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        return await make_link(connection, Holder("admin", Secret(TOKEN).id))


async def sign_in(gateway: Gateway, **fields: str) -> tuple[int, str]:
    response = await gateway.client.post(f"{gateway.internal}/console/sign-in", data=fields, allow_redirects=False)
    return response.status, response.headers.get("Set-Cookie", "")


async def test_a_token_of_an_operator_opens_a_session_that_scripts_and_other_sites_do_not_get(gateway: Gateway) -> None:
    status, cookie = await sign_in(gateway, token=TOKEN)
    assert status == 303
    assert {part.strip() for part in cookie.split(";")} >= {"HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"}
    key = cookie.partition("=")[2].partition(";")[0]
    assert (await Visitor(gateway, key).get(OVERVIEW)).status == 200
    (row,) = await gateway.rows("console_keys")
    assert key not in str(row)


@pytest.mark.parametrize(
    ("token", "status", "complaint"),
    [
        ("", 401, "Enter a token."),
        ("wrong", 401, "This token is not known."),
        (SERVICE["X-Internal-Token"], 403, "This is a token of a service."),
    ],
)
async def test_any_other_token_opens_none(gateway: Gateway, token: str, status: int, complaint: str) -> None:
    response = await gateway.client.post(f"{gateway.internal}/console/sign-in", data={"token": token})
    assert (response.status, complaint in await response.text(), "Set-Cookie" in response.headers) == (status, True, False)


async def test_attempts_are_limited_and_those_of_the_right_token_too(gateway: Gateway) -> None:
    answers = [(await sign_in(gateway, token="wrong"))[0] for _ in range(10)]
    assert answers == [401] * 10
    assert (await sign_in(gateway, token=TOKEN))[0] == 429


async def test_a_session_ends_for_every_gateway_when_it_is_signed_out(
    gateway: Gateway, start_gateway: StartGateway, database_url: str
) -> None:
    operator = await visitor(gateway, database_url)
    async with start_gateway() as another:
        elsewhere = Visitor(another, operator.key)
        assert (await elsewhere.get(OVERVIEW)).status == 200
        assert (await operator.post("/console/sign-out")).status == 303
        assert (await elsewhere.get(OVERVIEW)).status == 401


async def test_a_session_ends_with_its_token(start_gateway: StartGateway, database_url: str) -> None:
    async with start_gateway(ADMIN_API_TOKEN="another") as gateway:
        assert (await (await visitor(gateway, database_url, token="another")).get(OVERVIEW)).status == 200
        assert (await (await visitor(gateway, database_url, token=TOKEN)).get(OVERVIEW)).status == 401


async def test_a_session_ends_with_its_time_and_is_deleted(gateway: Gateway, database_url: str) -> None:
    operator = await visitor(gateway, database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert forget_keys(connection) == 0
        connection.execute("update console_keys set expires_at = now()")
        assert (await operator.get(OVERVIEW)).status == 401
        assert forget_keys(connection) == 1


async def test_a_link_opens_one_session(gateway: Gateway, database_url: str) -> None:
    link = await link_of(database_url)
    assert [(await sign_in(gateway, link=link))[0] for _ in range(2)] == [303, 401]


async def test_a_link_is_followed_in_a_browser_and_its_key_reaches_no_address(gateway: Gateway, database_url: str) -> None:
    link = await link_of(database_url)
    asked: list[str] = []
    async with browser() as chromium, opened(chromium, "about:blank", width=1280) as looked:
        looked.page.on("request", lambda request: asked.append(request.url))
        await looked.page.goto(f"{gateway.internal}/console/sign-in?next={OVERVIEW}#{link}")
        await looked.page.wait_for_url(gateway.internal + OVERVIEW)
        assert await looked.page.get_by_role("heading", name="Overview").is_visible()
    assert [url for url in asked if link in url.partition("#")[0]] == []


@pytest.mark.parametrize("target", ["https://example.com/", "//example.com", "/console/../v1", "/console/sign-out", "/metrics"])
async def test_signing_in_leads_to_no_other_place(gateway: Gateway, target: str) -> None:
    response = await gateway.client.post(
        f"{gateway.internal}/console/sign-in", data={"token": TOKEN, "next": target}, allow_redirects=False
    )
    assert response.headers["Location"] == OVERVIEW


async def test_who_signs_in_and_out_is_in_the_audit_log(gateway: Gateway, database_url: str) -> None:
    await sign_in(gateway, token="wrong")
    await (await visitor(gateway, database_url)).post("/console/sign-out")
    await gateway.resources.audit.flush()
    rows = [
        (row["method"], row["path"], row["status"], row["reason"], row["secret_id"]) for row in await gateway.rows("audit_log")
    ]
    assert rows == [
        ("POST", "/console/sign-in", 401, "token_wrong", None),
        ("POST", "/console/sign-out", 303, None, Secret(TOKEN).id),
    ]


async def test_a_person_signs_in_and_out(gateway: Gateway) -> None:
    async with signed_in(gateway) as looked:
        assert [cookie["name"] for cookie in await looked.page.context.cookies()] == [COOKIE]
        await looked.page.get_by_role("button", name="Sign out").click()
        await looked.page.wait_for_url(f"{gateway.internal}/console/sign-in")
        assert (looked.faults, await looked.page.context.cookies()) == ([], [])


async def test_a_token_of_a_reader_opens_a_session_that_reads(start_gateway: StartGateway) -> None:
    async with start_gateway(READ_API_TOKEN=READER) as gateway:
        _, cookie = await sign_in(gateway, token=READER)
        page = await Visitor(gateway, cookie.partition("=")[2].partition(";")[0]).get(OVERVIEW)
        assert (page.status, "reads only" in page.text) == (200, True)
        assert [row["role"] for row in await gateway.rows("console_keys")] == ["reader"]
