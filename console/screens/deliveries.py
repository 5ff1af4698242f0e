"""The delivery log: received webhooks and their outcomes, with filters, explanations and replays."""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from psycopg import AsyncConnection

from console.filters import filled
from console.links import page_of
from console.listing import Found, list_page
from console.pages import SESSION, Screen, page
from gateway.answers import require
from gateway.keys import SENDERS, SETTINGS
from gateway.paging import cursor_of, id_of
from gateway.postgres import reading
from operations.deliveries import circumstances, store
from operations.deliveries.query import DeliveriesQuery
from schemas.providers import SOURCES

_REPLAYED_BY: Final = {"source": "source", "type": "types", "outcome": "status", "from": "from", "to": "to"}
"""The filters of the log, with the names that a replay has for them. A replay has no other filters."""


async def deliveries(request: web.Request) -> web.Response:
    """Show the page, with the filters of its address."""
    return await _list(request, "deliveries.html")


async def rows(request: web.Request) -> web.Response:
    """Show only the rows, as they are now."""
    return await _list(request, "_deliveries.html")


async def delivery(request: web.Request) -> web.Response:
    """Show one delivery on its own page, also one without an event, which has no journey."""
    return await _one(request, "delivery.html")


async def detail(request: web.Request) -> web.Response:
    """Show one delivery: why it was refused and whether the present secrets would accept it, its headers and its body."""
    return await _one(request, "_delivery.html")


async def _one(request: web.Request, template: str) -> web.Response:
    asked = id_of(request.match_info["id"], "delivery")
    absent = "no delivery has this id, or its day is past retention"
    async with reading(request) as connection:
        found = require(await store.delivery(connection, asked), absent)
        settings = circumstances.inputs_of(request.app[SETTINGS].newest, request.app[SENDERS])
        why = await circumstances.explain_delivery(connection, asked, settings) if found.reason else None
        body = await store.body(connection, asked) if request[SESSION].changes else None
    return page(request, template, call=found, why=why, body=body, page_of=page_of)


async def _list(request: web.Request, template: str) -> web.Response:
    async def read(connection: AsyncConnection, query: DeliveriesQuery) -> Found:
        items, last = await store.deliveries(connection, query, *query.span(datetime.now(UTC)))
        return Found(items, cursor_of(last) if last else None)

    values = filled(request)
    shared: dict[str, Any] = {"address": urlencode(values), "replayed": _replayed(values), "page_of": page_of}
    return await list_page(request, template, DeliveriesQuery, read, choices={"source": SOURCES}, **shared)


def _replayed(given: dict[str, str]) -> dict[str, str]:
    """Return the filters with the names that a replay has for them; empty if a replay lacks one of them."""
    filters = {name: text for name, text in given.items() if name not in {"cursor", "limit"}}
    replayed = {_REPLAYED_BY[name]: text for name, text in filters.items() if name in _REPLAYED_BY}
    return replayed if len(replayed) == len(filters) else {}


SCREEN: Final = Screen(
    "Deliveries",
    "/console/deliveries",
    (
        web.get("/deliveries", deliveries, name="console_deliveries"),
        web.get("/deliveries/rows", rows, name="console_deliveries_rows"),
        web.get("/deliveries/{id}", delivery, name="console_delivery"),
        web.get("/deliveries/{id}/detail", detail, name="console_deliveries_detail"),
    ),
)
