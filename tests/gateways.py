"""The real gateway on free ports with a real Postgres, and a proxy between the two that can be cut."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import psycopg
import pytest
from aiohttp import web
from aiohttp.http_parser import HttpRequestParserPy
from psycopg.rows import dict_row

from gateway.connections import Limits
from gateway.server import Runner
from gateway.settings import GatewaySettings
from ops.processes.applications import Resources, build_internal, build_public, opened
from outbox import tasks
from tests.simulators.stripe import sign
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    StartGateway = Callable[..., AbstractAsyncContextManager["Gateway"]]

SECRET: Final = "whsec_new"
OLD_SECRET: Final = "whsec_old"
SERVICE: Final = {"X-Internal-Token": "service"}
ADMIN: Final = {"X-Internal-Token": "operator"}


class Gateway:
    """A running gateway and a client of it."""

    def __init__(
        self, client: aiohttp.ClientSession, resources: Resources, public: str, internal: str, database_url: str
    ) -> None:
        self.client = client
        self.resources = resources
        self.public = public
        self.internal = internal
        self._database_url = database_url

    async def post(self, body: bytes, *, secret: str = SECRET, **headers: str) -> aiohttp.ClientResponse:
        """Deliver a body to the Stripe route, signed now; headers named with underscores replace or add."""
        sent = {"Stripe-Signature": sign(body, secret, time.time()), "Content-Type": "application/json; charset=utf-8"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send(body, sent)

    async def send(self, body: Any, headers: dict[str, str]) -> aiohttp.ClientResponse:
        response = await self.client.post(f"{self.public}/v1/webhooks/stripe", data=body, headers=headers)
        await response.read()
        return response

    async def ask(self, path: str, body: Any = None, headers: Mapping[str, str] = ADMIN) -> aiohttp.ClientResponse:
        """Post JSON to the internal port."""
        response = await self.client.post(f"{self.internal}{path}", json=body, headers=headers)
        await response.read()
        return response

    async def get(self, path: str, headers: dict[str, str] = ADMIN) -> aiohttp.ClientResponse:
        response = await self.client.get(f"{self.internal}{path}", headers=headers)
        await response.read()
        return response

    async def overwrite_config(self, key: str, value: str) -> None:
        """Write the value of a key that is set by SQL, which nothing checks; `value` is JSON."""
        async with await psycopg.AsyncConnection.connect(self._database_url) as connection:
            await connection.execute("update config set value = %s::jsonb where key = %s", (value, key))
            await connection.execute("notify config")

    async def settle(self, outcome: dict[str, Any] | str) -> dict[str, Any]:
        """Play the worker: settle the one open task with a result or a reason, and return its command and kind."""

        async def open_task() -> dict[str, Any] | None:
            return next(iter(await self.rows("tasks where status = 'pending'")), None)

        task = await eventually(open_task)
        async with await psycopg.AsyncConnection.connect(self._database_url) as connection:
            if isinstance(outcome, str):
                await tasks.fail(connection, task["id"], outcome)
            else:
                await tasks.finish(connection, task["id"], outcome)
        [event] = await self.rows(f"outbox where id = '{task['id']}'")
        return {**event, "kind": task["kind"]}

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows, those with an id in its order."""
        async with await psycopg.AsyncConnection.connect(self._database_url, row_factory=dict_row) as connection:
            found = await (await connection.execute(f"select * from {table}")).fetchall()
        return sorted(found, key=lambda row: str(row.get("id", "")))


@pytest.fixture
def start_gateway(database_url: str) -> StartGateway:
    """Starts a gateway with changed settings, such as `MAX_BODY_BYTES="10"`, as a context manager."""

    @asynccontextmanager
    async def start(*, ready: bool = True, **changes: str) -> AsyncIterator[Gateway]:
        environ = {
            "DATABASE_URL": database_url,
            "STRIPE_WEBHOOK_SECRET": f"{SECRET},{OLD_SECRET}",
            "INTERNAL_API_TOKEN": SERVICE["X-Internal-Token"],
            "ADMIN_API_TOKEN": ADMIN["X-Internal-Token"],
        }
        settings = GatewaySettings.load(environ | changes)
        async with (
            opened(settings) as resources,
            aiohttp.ClientSession(auto_decompress=False) as client,
            listening(build_public(settings, resources), settings) as public,
            listening(build_internal(settings, resources), settings) as internal,
        ):
            if ready:
                await resources.intake.until_ready()
            yield Gateway(client, resources, public, internal, database_url)

    return start


@pytest.fixture
def lenient_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Have the server parse in Python, as aiohttp does where it has no compiled parser.

    That one takes every byte in a path or a query, of which the compiled one refuses those beyond ASCII.
    """
    monkeypatch.setattr("aiohttp.web_protocol.HttpRequestParser", HttpRequestParserPy)


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> AsyncIterator[Gateway]:
    async with start_gateway() as running:
        yield running


@asynccontextmanager
async def listening(app: web.Application, settings: GatewaySettings) -> AsyncIterator[str]:
    grace = settings.shutdown_grace.total_seconds()  # aiohttp's own is a minute
    runner = Runner(app, limits=Limits(body=settings.body_timeout.total_seconds()), shutdown_timeout=grace)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


class Wire:
    """A proxy in front of Postgres. Cut, it drops every connection and accepts none; held, it forwards nothing."""

    def __init__(self, database_url: str) -> None:
        self._target = urlsplit(database_url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._whole = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.url = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._target._replace(netloc=f"{self._target.username}:{self._target.password}@127.0.0.1:{port}").geturl()

    async def close(self) -> None:
        self.cut()
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        self._whole = False
        for writer in self._writers:
            writer.close()

    def mend(self) -> None:
        self._whole = True

    def hold(self) -> None:
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.close()
            return
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()
            self._writers.discard(writer)


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[Wire]:
    forwarder = Wire(database_url)
    await forwarder.open()
    yield forwarder
    await forwarder.close()
