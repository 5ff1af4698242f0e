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
    """One page of the deliveries, newest first."""

    items: list[Delivery]  #: The deliveries.
    next: str | None = None  #: The cursor of the following page; absent on the last page.


class DeliveriesDetail(Delivery, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The delivery with the journey of its event."""

    journey: Journey | None = None  #: The way of its event; absent if it has none.


async def deliveries(request: web.Request) -> web.Response:
    """
    List the deliveries of providers and partners, newest first.

    The delivery log holds every webhook call with its outcome, including refused ones.
    """
    query = parse_query(request.query, datetime.now(UTC))
    async with transaction(request) as connection:
        items, more = await store.deliveries(connection, query)
    page = DeliveriesPage(items, cursor_of(items[-1].id) if more else None)
    return web.json_response(body=msgspec.json.encode(page))


async def delivery(request: web.Request) -> web.Response:
    """
    Read one delivery with the journey of its event.

    The journey is the event's way through outbox, Kafka and workers, with the events that it caused.
    """
    asked = id_of(request.match_info["id"], "delivery")
    async with transaction(request) as connection:
        found = await store.delivery(connection, asked)
        if found is None:
            raise GatewayError(Reason.NOT_FOUND, "no delivery has this id, or its day is past retention")
        journey = await store.journey(connection, found.ce_id) if found.ce_id else None
    detail = DeliveriesDetail(**msgspec.structs.asdict(found), journey=journey)
    return web.json_response(body=msgspec.json.encode(detail))


async def body(request: web.Request) -> web.Response:
    """
    Download the raw body of a delivery.

    The bytes are those of the sender. They are served as a download that no browser executes, since anyone may have sent
    them.
    """
    asked = id_of(request.match_info["id"], "delivery")
    async with transaction(request) as connection:
        found = await store.body(connection, asked)
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "no body is kept for this id")
    return web.Response(body=found, content_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"})
