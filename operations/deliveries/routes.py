"""The delivery log: what came in, what was said to it, and where it has gone since."""

from datetime import UTC, datetime

import msgspec
from aiohttp import web

from gateway.errors import GatewayError, Reason
from gateway.paging import cursor_of, id_of
from gateway.postgres import transaction
from operations.deliveries import store
from operations.deliveries.query import parse_query
from operations.deliveries.store import Delivery, Journey


class DeliveriesPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Newest first; `next` is the cursor of the following page, absent on the last one."""

    items: list[Delivery]
    next: str | None = None


class DeliveriesDetail(Delivery, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A delivery with the journey of its event, as far as the tables tell."""

    journey: Journey | None = None


async def deliveries(request: web.Request) -> web.Response:
    """The delivery log, newest first."""
    query = parse_query(request.query, datetime.now(UTC))
    async with transaction(request) as connection:
        items, more = await store.deliveries(connection, query)
    page = DeliveriesPage(items, cursor_of(items[-1].id) if more else None)
    return web.json_response(body=msgspec.json.encode(page))


async def delivery(request: web.Request) -> web.Response:
    """One delivery, with the journey of its event."""
    asked = id_of(request.match_info["id"], "delivery")
    async with transaction(request) as connection:
        found = await store.delivery(connection, asked)
        if found is None:
            raise GatewayError(Reason.NOT_FOUND, "no delivery has this id, or its day is past retention")
        journey = await store.journey(connection, found.ce_id) if found.ce_id else None
    detail = DeliveriesDetail(**msgspec.structs.asdict(found), journey=journey)
    return web.json_response(body=msgspec.json.encode(detail))


async def body(request: web.Request) -> web.Response:
    """The raw bytes; never as something that a browser would run, since a stranger may have sent them."""
    asked = id_of(request.match_info["id"], "delivery")
    async with transaction(request) as connection:
        found = await store.body(connection, asked)
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "no body is kept for this id")
    return web.Response(body=found, content_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"})
