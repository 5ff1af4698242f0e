"""
The part of Stripe's API that lists events (https://docs.stripe.com/api/events/list), over real HTTP in a thread of its own.

Newest first, by the page, narrowed by time and type; it can be told to fail, and keeps what it was asked.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEY: Final = "rk_test_of_the_simulator"
_LIMIT_MAX: Final = 100


class StripeApi:
    """Holds events, as the bytes of their webhooks; `failures` are answered first, one a request."""

    def __init__(self) -> None:
        self.url = ""
        self.failures: list[int] = []
        self.asked: list[dict[str, str]] = []
        self._events: list[dict[str, Any]] = []

    def hold(self, *bodies: bytes) -> None:
        """Have these events in the list; what came last is the newest of its second."""
        self._events += [json.loads(body) for body in bodies]
        self._events.sort(key=lambda event: event["created"])

    async def list_events(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(401, "invalid_request_error", "Invalid API Key provided")
        if self.failures:
            status = self.failures.pop(0)
            return _error(status, "api_error" if status >= 500 else "invalid_request_error", "told to fail")
        return self._page(request)

    def _page(self, request: web.Request) -> web.Response:
        query = request.query
        types = [value for name, value in query.items() if name.startswith("types[")]
        if len(types) > 20:
            return _error(400, "invalid_request_error", "You may only specify up to 20 types")
        limit = int(query.get("limit", 10))
        if not 1 <= limit <= _LIMIT_MAX:
            return _error(400, "invalid_request_error", "limit must be between 1 and 100")
        found = [event for event in reversed(self._events) if _fits(event, query, types)]
        if after := query.get("starting_after"):
            ids = [event["id"] for event in found]
            if after not in ids:
                return _error(404, "invalid_request_error", f"No such event: '{after}'")
            found = found[ids.index(after) + 1 :]
        page = {"object": "list", "url": "/v1/events", "has_more": len(found) > limit, "data": found[:limit]}
        return web.Response(text=json.dumps(page, indent=2), content_type="application/json")


def _fits(event: dict[str, Any], query: Any, types: Sequence[str]) -> bool:
    created = event["created"]
    bounds = {"gte": created.__ge__, "gt": created.__gt__, "lte": created.__le__, "lt": created.__lt__}
    return all(holds(int(query[f"created[{name}]"])) for name, holds in bounds.items() if f"created[{name}]" in query) and (
        not types or event["type"] in types
    )


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"type": kind, "message": message}}, status=status)


@contextmanager
def stripe_api() -> Iterator[StripeApi]:
    """A running one, for as long as the context."""
    api, ended, ready = StripeApi(), threading.Event(), threading.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/v1/events", api.list_events)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api.url = "http://{}:{}".format(*runner.addresses[0])
        ready.set()
        await asyncio.to_thread(ended.wait)
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield api
    finally:
        ended.set()
        thread.join(10)
