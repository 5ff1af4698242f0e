"""Receivers of our messages that accept one or several passwords and count the refused logins."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import psycopg
import redis
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from psycopg import sql

from runtime.addresses import LOOPBACK
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ops.stack import Stack

PASSWORDS: Final = ("before0rotation", "after0rotation")
API_KEYS: Final = ("Zmlyc3Q6a2V5LW9mLXNlYXJjaA==", "c2Vjb25kOmtleS1vZi1zZWFyY2g=")


class Receivers:
    """Mail and SMS: a client with any other password is refused and counted."""

    def __init__(self) -> None:
        self.passwords = {PASSWORDS[0]}
        self.taken = Counter[str]()
        self.refused = 0
        self.smtp = free_port()
        self.sms = ""

    def _judge(self, kind: str, password: str) -> bool:
        known = password in self.passwords
        self.refused += not known
        self.taken[kind] += known
        return known

    def authenticate(self, _server: object, _session: object, _envelope: object, _mechanism: str, login: Any) -> AuthResult:
        assert isinstance(login, LoginPassword)
        return AuthResult(success=self._judge("login", login.password.decode()))

    async def handle_DATA(self, *_: object) -> str:  # noqa: N802  # aiosmtpd's name for it
        self.taken["mail"] += 1  # several may come over one connection, which has logged in once
        return "250 taken"

    async def receive(self, request: web.Request) -> web.Response:
        login = aiohttp.BasicAuth.decode(request.headers.get("Authorization", ""))
        return web.Response(status=200 if self._judge("sms", login.password) else 401)

    def address(self, name: str, password: str) -> str:
        if name == "NOTIFY_SMS_URL":
            return f"json://shop:{password}@{self.sms.removeprefix('http://')}/sms"
        return f"mailto://shop:{password}@{LOOPBACK}:{self.smtp}/?from=shop@example.com"


@asynccontextmanager
async def receivers() -> AsyncIterator[Receivers]:
    found = Receivers()
    app = web.Application()
    app.router.add_post("/sms", found.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    found.sms = "http://{}:{}".format(*runner.addresses[0])
    mail = Controller(found, hostname=LOOPBACK, port=found.smtp, authenticator=found.authenticate, auth_require_tls=False)
    mail.start()
    try:
        yield found
    finally:
        mail.stop()
        await runner.cleanup()


@contextmanager
def accounts(stack: Stack) -> Iterator[tuple[psycopg.Connection, redis.Redis]]:
    """The administration of Postgres and of Redis, with an account `rotated` in each that has the old password."""
    with (
        psycopg.connect(stack.postgres.url, autocommit=True) as postgres,
        redis.Redis.from_url(stack.environment["REDIS_URL"]) as cache,
    ):
        postgres.execute("drop role if exists rotated")
        postgres.execute(sql.SQL("create role rotated superuser login password {}").format(PASSWORDS[0]))
        cache.acl_setuser("rotated", enabled=True, reset=True, passwords=[f"+{PASSWORDS[0]}"], keys="*", commands=["+@all"])
        try:
            yield postgres, cache
        finally:
            cache.acl_deluser("rotated")


class SearchDoor:
    """Elasticsearch behind a login: a client with any other one is refused and counted."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.logins = {self.by_password(0)}
        self.taken = Counter[str]()
        self.refused = 0
        self.url = ""

    @staticmethod
    def by_password(place: int) -> str:
        return aiohttp.encode_basic_auth("search", PASSWORDS[place])

    @staticmethod
    def by_key(place: int) -> str:
        return f"ApiKey {API_KEYS[place]}"

    def address(self, place: int) -> str:
        return self.url.replace("://", f"://search:{PASSWORDS[place]}@")

    async def pass_on(self, request: web.Request) -> web.Response:
        login = request.headers.get("Authorization", "")
        if login not in self.logins:
            self.refused += 1
            return web.Response(status=401)
        self.taken[login] += 1
        sent = {name: request.headers[name] for name in ("Content-Type", "Accept") if name in request.headers}
        async with (
            aiohttp.ClientSession() as http,
            http.request(request.method, self._behind + request.path_qs, data=await request.read(), headers=sent) as answer,
        ):
            kept = {name: answer.headers[name] for name in ("Content-Type", "X-Elastic-Product") if name in answer.headers}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


@asynccontextmanager
async def search_door(behind: str) -> AsyncIterator[SearchDoor]:
    found = SearchDoor(behind)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", found.pass_on)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    found.url = "http://{}:{}".format(*runner.addresses[0])
    try:
        yield found
    finally:
        await runner.cleanup()
