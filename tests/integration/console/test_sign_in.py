"""Signing in to the console: who may, and for how long."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING, Final

import aiohttp
import psycopg
import pytest
import trustme
from yarl import URL

from console.sessions import Holder, forget_keys, make_link
from runtime.settings import Secret
from tests.browser import browser, opened
from tests.command import tallyhook_beside
from tests.console import COOKIE, READER, TOKEN, Visitor, signed_in, visitor
from tests.gateways import SECRET, SERVICE
from tests.integration.gateway.test_process import start, until_logged

if TYPE_CHECKING:
    from pathlib import Path

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
        ("wrong", 401, "This token is unknown."),
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


BROKEN_FORMS: Final = (
    (b"token=\xff", "application/x-www-form-urlencoded"),
    (b"token=a", "application/x-www-form-urlencoded; charset=utf-7"),
    (b"token=a", "application/x-www-form-urlencoded; charset=none-such"),
    (b"token=a", "multipart/form-data"),
    (b"--x\r\n\r\na\r\n--x--", "multipart/form-data; boundary=x"),
)


@pytest.mark.parametrize(("body", "content_type"), BROKEN_FORMS)
async def test_a_form_that_cannot_be_read_is_an_attempt_too(gateway: Gateway, body: bytes, content_type: str) -> None:
    url, headers = f"{gateway.internal}/console/sign-in", {"Content-Type": content_type}
    answers = []
    for _ in range(11):
        async with gateway.client.post(url, data=body, headers=headers) as answer:
            answers.append((answer.status, 'name="token"' in await answer.text()))
    assert answers == [(400, True)] * 10 + [(429, True)]


@pytest.mark.parametrize(("body", "content_type"), BROKEN_FORMS)
async def test_a_change_by_a_form_that_cannot_be_read_is_refused(
    gateway: Gateway, database_url: str, body: bytes, content_type: str
) -> None:
    operator = await visitor(gateway, database_url)
    for path in ("/console/sign-out", "/console/replays"):
        for header in ({}, {"X-Form-Token": operator.form_token}):
            headers = {"Content-Type": content_type, "Cookie": f"{COOKIE}={operator.key}", **header}
            if path == "/console/sign-out" and header:
                continue  # this route reads no form
            async with gateway.client.post(gateway.internal + path, data=body, headers=headers) as answer:
                assert (answer.status, "request_malformed" in await answer.text()) == (400, True), path


async def test_a_cookie_and_a_token_of_any_bytes_are_refused(gateway: Gateway, database_url: str) -> None:
    assert (await asked_raw(gateway, b"GET", f"Cookie: {COOKIE}=".encode() + b"\xff\xfe")).startswith(b"HTTP/1.1 401")
    key = (await visitor(gateway, database_url)).key
    cookie = f"Cookie: {COOKIE}={key}\r\nX-Form-Token: ".encode()
    assert (await asked_raw(gateway, b"POST", cookie + b"\xff")).startswith(b"HTTP/1.1 403")


async def asked_raw(gateway: Gateway, method: bytes, headers: bytes) -> bytes:
    """Send a raw request that no client would send; return the answer."""
    url = URL(gateway.internal)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = b"%s /console/replays HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n%s\r\n\r\n"
    writer.write(head % (method, headers))
    answer = await reader.read()
    writer.close()
    return answer


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


async def test_a_key_that_was_made_while_the_clock_was_ahead_is_not_valid_for_longer(gateway: Gateway, database_url: str) -> None:
    operator, link = await visitor(gateway, database_url), await link_of(database_url)
    assert (await operator.get(OVERVIEW)).status == 200
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update console_keys set expires_at = expires_at + interval '1 year'")
        assert (await operator.get(OVERVIEW)).status == 401
        assert (await sign_in(gateway, link=link))[0] == 401
        assert forget_keys(connection) == 2


async def test_a_link_opens_one_session(gateway: Gateway, database_url: str) -> None:
    link = await link_of(database_url)
    assert [(await sign_in(gateway, link=link))[0] for _ in range(2)] == [303, 401]


@pytest.mark.parametrize("secure", [False, True])
async def test_the_cookie_is_secure_if_the_listener_uses_tls(database_url: str, tmp_path: Path, secure: bool) -> None:
    ca, trust = trustme.CA(), ssl.create_default_context()
    ca.configure_trust(trust)
    own = ca.issue_cert("127.0.0.1")
    (tmp_path / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in own.cert_chain_pems))
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = {f"INTERNAL_TLS_{name.upper()}": str(tmp_path / f"{name}.pem") for name in ("cert", "key")}
    process = await start(database_url, **(tls if secure else {}))
    try:
        url = (await until_logged(process, "gateway_started"))["internal"]
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as client,
            client.post(f"{url}/console/sign-in", data={"token": TOKEN}, allow_redirects=False) as answer,
        ):
            parts = {part.strip() for part in answer.headers["Set-Cookie"].split(";")}
        assert (answer.status, url.partition(":")[0], "Secure" in parts) == (303, "https" if secure else "http", secure)
    finally:
        process.terminate()
        await process.communicate()


async def test_the_command_prints_a_link_that_signs_in_once_and_leads_to_a_page(gateway: Gateway, database_url: str) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "INTERNAL_API_TOKEN": SERVICE["X-Internal-Token"],
        "ADMIN_API_TOKEN": f"{TOKEN},an-older-one",
        "INTERNAL_URL": f"{gateway.internal}/",
    }
    done = await tallyhook_beside(environment, "console", "link", "--to", "/console/deliveries?source=stripe")
    assert done.returncode == 0, done.stderr
    link = done.stdout.strip()
    async with browser() as chromium, opened(chromium, link, width=1280) as looked:
        await looked.page.wait_for_url(f"{gateway.internal}/console/deliveries?source=stripe")
        assert await looked.page.get_by_role("heading", name="Deliveries").is_visible()
    async with browser() as chromium, opened(chromium, link, width=1280) as looked:
        await looked.page.get_by_text("This link was used before").wait_for()
    [session] = await gateway.rows("console_keys")
    assert (session["kind"], session["secret_id"]) == ("session", Secret(TOKEN).id)
    there = {name: text for name, text in environment.items() if name != "INTERNAL_URL"} | {"INTERNAL_PORT": "9443"}
    printed = json.loads((await tallyhook_beside(there, "console", "link", "--json")).stdout)
    assert printed["url"].startswith("http://127.0.0.1:9443/console/sign-in?next=/console/overview#")


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


async def test_signing_in_and_out_is_in_the_audit_log(gateway: Gateway, database_url: str) -> None:
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
        assert (page.status, "read only" in page.text) == (200, True)
        assert [row["role"] for row in await gateway.rows("console_keys")] == ["reader"]
