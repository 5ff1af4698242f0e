"""A stream of server-sent events without content: each signals commits to an open page, which then reloads its parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Final

from aiohttp import web

from gateway.keys import SETTINGS
from outbox.append import WAKE_CHANNEL
from runtime.heartbeat import now
from runtime.listening import Listener

_STREAMS_MAX: Final = 100
"""The maximum number of streams of one gateway. A page without a stream reloads its parts at their intervals."""
_LIFETIME: Final = 300.0
"""Seconds until a stream ends. The browser then connects again, and its session is checked again."""
_HEARTBEAT: Final = 15.0
"""Seconds after which a comment is sent, so that a disconnected browser is noticed."""
_SPACING: Final = 5.0
"""Minimum seconds between two signals. Each one makes the parts of a page query Postgres again."""
_BEGIN: Final = b"retry: 2000\n\n"
_CHANGED: Final = b"data: changed\n\n"
_COMMENT: Final = b": nothing changed\n\n"


class Live:
    """
    Wakes streams when events were appended to the outbox: nearly every change is caused by an event, or causes one.

    It listens only while there are streams. A signal is only a hint: pages read the state from the tables.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._streams: set[asyncio.Event] = set()
        self._listener: Listener | None = None
        self._turn = asyncio.Lock()
        self.ended = asyncio.Event()

    @property
    def full(self) -> bool:
        """True if there are as many streams as one gateway allows."""
        return len(self._streams) >= _STREAMS_MAX

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set at once (the page may be older than a commit), at each commit, and at the end."""
        woken = asyncio.Event()
        woken.set()
        self._streams.add(woken)
        try:
            await self._listen()
            yield woken
        finally:
            self._streams.discard(woken)
            await self._listen()

    def end(self) -> None:
        """End every stream; later ones end at once."""
        self.ended.set()
        self._wake()

    async def _listen(self) -> None:
        """Open the listener with the first stream, and close it with the last one."""
        async with self._turn:
            if self._streams and self._listener is None:
                self._listener = Listener(self._url, WAKE_CHANNEL, on_notify=self._wake, on_connect=self._wake)
                await self._listener.open()
            elif not self._streams and self._listener:
                listener, self._listener = self._listener, None
                await listener.close()

    def _wake(self, _: str = "") -> None:
        for woken in self._streams:
            woken.set()


LIVE: Final = web.AppKey("live", Live)


def add_live(console: web.Application) -> None:
    """Add the stream of changes to the console."""
    console[LIVE] = live = Live(console[SETTINGS].database_url)

    async def end(_: web.Application) -> None:
        live.end()

    console.on_shutdown.append(end)
    console.router.add_get("/live", follow, name="console_live")


async def follow(request: web.Request) -> web.StreamResponse:
    """Send a signal after commits, at most every few seconds, until the browser disconnects or the gateway stops."""
    live = request.app[LIVE]
    if live.full:
        return web.Response(status=HTTPStatus.NO_CONTENT)  # after a 204 a browser does not connect again
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    with suppress(ConnectionError):  # the browser has disconnected
        await response.prepare(request)
        await response.write(_BEGIN)
        async with live.stream() as woken:
            await _send_changes(response, live, woken)
    return response


async def _send_changes(response: web.StreamResponse, live: Live, woken: asyncio.Event) -> None:
    until = now() + _LIFETIME
    while not live.ended.is_set() and now() < until:
        try:
            await asyncio.wait_for(woken.wait(), _HEARTBEAT)
        except TimeoutError:
            await response.write(_COMMENT)
            continue
        woken.clear()
        await response.write(_CHANGED)
        with suppress(TimeoutError):
            await asyncio.wait_for(live.ended.wait(), _SPACING)
