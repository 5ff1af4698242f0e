"""A partner's CRM: accepts leads and checks their signature, or fails as a test scripts it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import TypeAlias

    Step: TypeAlias = Callable[["Crm", web.Request], Awaitable[web.StreamResponse]]

SECRET: Final = "whsec_Y3JtLXNlY3JldC1jcm0tc2VjcmV0LWNybQ=="


class Taken(NamedTuple):
    """One request whose signature was right."""

    path: str
    message_id: str
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        return orjson.loads(self.body)["data"]


class Crm:
    """
    Accepts every lead with 204 unless its answers are scripted.

    `answers(path, *steps)` scripts a path: each request takes the next step, and the last one stays.
    """

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.secret = SECRET
        self.refused = 0
        self.most_at_once = 0
        self.url = ""
        self._at_once = 0
        self._script: dict[str, list[Step]] = {}
        self._released = asyncio.Event()

    def answers(self, path: str, *steps: Step) -> None:
        self._script[path] = list(steps)

    def release(self) -> None:
        """Let hanging requests go on."""
        self._released.set()

    def ids(self, path: str) -> list[str]:
        return [taken.message_id for taken in self.taken if taken.path == path]

    async def until_released(self) -> None:
        await self._released.wait()

    async def receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            Webhook(self.secret).verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError:
            self.refused += 1
            raise
        self.taken.append(Taken(request.path, request.headers["webhook-id"], body))
        steps = self._script.get(request.path, [])
        step = steps.pop(0) if len(steps) > 1 else steps[0] if steps else status(204)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await step(self, request)
        finally:
            self._at_once -= 1


def status(code: int, text: str = "", **headers: str) -> Step:
    async def answer(_: Crm, __: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return answer


async def hang(crm: Crm, _: web.Request) -> web.StreamResponse:
    await crm.until_released()
    return web.Response(status=204)


async def close(_: Crm, request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def slow(seconds: float) -> Step:
    async def answer(_: Crm, __: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response(status=204)

    return answer


@asynccontextmanager
async def running_crm() -> AsyncIterator[Crm]:
    """A CRM in this event loop; a lead goes to `crm.url` and any path below."""
    crm = Crm()
    app = web.Application()
    app.router.add_post("/{path:.*}", crm.receive)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        crm.url = "http://{}:{}".format(*runner.addresses[0])
        yield crm
    finally:
        crm.release()
        await runner.cleanup()


@contextmanager
def crm_of_its_own() -> Iterator[Crm]:
    """A CRM in a thread, for tests whose event loops come and go."""
    started, ended = threading.Event(), asyncio.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with running_crm() as crm:
            found.update(crm=crm, loop=asyncio.get_running_loop())
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="crm")
    thread.start()
    try:
        assert started.wait(10)
        yield found["crm"]
    finally:
        found["loop"].call_soon_threadsafe(ended.set)
        thread.join(10)
