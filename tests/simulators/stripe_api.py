"""
The part of Stripe's API that we use (https://docs.stripe.com/api), over real HTTP in its own thread.

It lists events and objects, newest first, in pages, filtered by time and type, and returns single objects. A test can script
its failures and read the requests that it got.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import web

from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEY: Final = "rk_test_of_the_simulator"
_LIMIT_MAX: Final = 100
_PATHS: Final = {
    "payment_intent": "payment_intents",
    "charge": "charges",
    "refund": "refunds",
    "dispute": "disputes",
    "invoice": "invoices",
    "subscription": "subscriptions",
    "invoice_payment": "invoice_payments",
    "checkout.session": "checkout/sessions",
}


class Scripted(NamedTuple):
    """One scripted answer, given instead of the real one."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012  # it is never changed
    after: float = 0.0
    """Seconds."""
    held: threading.Event | None = None
    """It is given only after this is set."""


class StripeApi:
    """Holds events, as the bytes of their webhooks; `failures` are sent first, one a request."""

    def __init__(self) -> None:
        self.url = ""
        self.keys = {KEY}
        self.refused = 0
        self.failures: list[int] = []
        self.scripted: list[Scripted] = []
        self.asked: list[dict[str, str]] = []
        self.calls: list[tuple[str, dict[str, str]]] = []
        """The path and the headers of every request for objects, single ones and lists."""
        self._events: list[dict[str, Any]] = []
        self._objects: dict[str, dict[str, Any]] = {}

    def hold(self, *bodies: bytes) -> None:
        """Add these events to the list; the last one added is the newest of its second."""
        self._events += [json.loads(body) for body in bodies]
        self._events.sort(key=lambda event: event["created"])

    def keep(self, *objects: dict[str, Any]) -> None:
        """Store these objects, each instead of the one of its kind and id."""
        self._objects |= {f"/v1/{_PATHS[each['object']]}/{each['id']}": each for each in objects}

    def drop(self, kind: str, name: str) -> None:
        """Delete the object."""
        del self._objects[f"/v1/{_PATHS[kind]}/{name}"]

    async def serve_objects(self, request: web.Request) -> web.Response:
        self.calls.append((request.path, dict(request.headers)))
        if self.scripted:
            step = self.scripted.pop(0)
            await asyncio.sleep(step.after)  # as slow as the test wants it
            if step.held:
                await until(step.held.is_set)
            return web.Response(status=step.status, body=step.body, headers={"Content-Type": "application/json", **step.headers})
        if not self._knows(request):
            return _error(401, "invalid_request_error", "Invalid API Key provided")
        if request.path.removeprefix("/v1/") in _PATHS.values():
            return self._list(request)
        found = self._objects.get(request.path)
        if found is None:
            return _error(404, "invalid_request_error", f"No such object: '{request.path}'")
        return web.Response(text=json.dumps(found, indent=2), content_type="application/json")

    def _knows(self, request: web.Request) -> bool:
        known = request.headers.get("Authorization", "").removeprefix("Bearer ") in self.keys
        self.refused += not known
        return known

    def _list(self, request: web.Request) -> web.Response:
        """Canceled subscriptions are listed only with `status=all` (https://docs.stripe.com/api/subscriptions/list)."""
        whole = request.query.get("status") == "all"
        ours = [each for path, each in self._objects.items() if path.startswith(f"{request.path}/")]
        found = [each for each in ours if _fits(each, request.query, [])]
        found = [each for each in found if whole or each["object"] != "subscription" or each["status"] != "canceled"]
        return self._paged(sorted(found, key=lambda each: each["created"], reverse=True), request)

    async def list_events(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        if not self._knows(request):
            return _error(401, "invalid_request_error", "Invalid API Key provided")
        if self.failures:
            status = self.failures.pop(0)
            return _error(status, "api_error" if status >= 500 else "invalid_request_error", "a scripted failure")
        return self._page(request)

    def _page(self, request: web.Request) -> web.Response:
        query = request.query
        types = [value for name, value in query.items() if name.startswith("types[")]
        if len(types) > 20:
            return _error(400, "invalid_request_error", "You may only specify up to 20 types")
        return self._paged([event for event in reversed(self._events) if _fits(event, query, types)], request)

    def _paged(self, found: list[dict[str, Any]], request: web.Request) -> web.Response:
        query, limit = request.query, int(request.query.get("limit", 10))
        if not 1 <= limit <= _LIMIT_MAX:
            return _error(400, "invalid_request_error", "limit must be between 1 and 100")
        if after := query.get("starting_after"):
            ids = [event["id"] for event in found]
            if after not in ids:
                return _error(404, "invalid_request_error", f"No such object: '{after}'")
            found = found[ids.index(after) + 1 :]
        page = {"object": "list", "url": request.path, "has_more": len(found) > limit, "data": found[:limit]}
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
        app.router.add_get("/v1/{path:.+}", api.serve_objects)
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
