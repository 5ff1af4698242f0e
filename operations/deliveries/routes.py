"""The delivery log: each delivery with its outcome, the explanation of a refusal, and the journey of its event."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from gateway.answers import answer, id_in_path, require
from gateway.keys import SENDERS, SETTINGS
from gateway.paging import Page, cursor_of
from gateway.parameters import query_of
from gateway.postgres import reading
from operations.deliveries import circumstances, store
from operations.deliveries.query import DeliveriesQuery
from operations.deliveries.store import Delivery
from operations.events import stations
from operations.events.stations import Journey

_NOUN: Final = "delivery"
_ABSENT: Final = "no delivery has this id, or its day is past retention"


class DeliveriesPage(Page[Delivery], frozen=True):
    """One page of the deliveries, newest first."""


class DeliveriesDetail(Delivery, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The delivery with the journey of its event."""

    journey: Journey | None = None  #: The way of its event; absent if it has none.


async def deliveries(request: web.Request) -> web.Response:
    """
    List the deliveries of providers and partners, newest first.

    The delivery log holds every webhook call with its outcome, including refused ones. A page examines at most 20,000 of them,
    so it may be short, or even empty, if few match; `next` leads to the following page.
    """
    query = query_of(request, DeliveriesQuery)
    span = query.span(datetime.now(UTC))
    async with reading(request) as connection:
        items, last = await store.deliveries(connection, query, *span)
    return answer(DeliveriesPage(items, cursor_of(last) if last else None))


async def delivery(request: web.Request) -> web.Response:
    """
    Read one delivery with the journey of its event.

    The journey is the event's way through outbox, Kafka and workers, with the events that it caused.
    """
    delivery_id = id_in_path(request, _NOUN)
    async with reading(request) as connection:
        found = require(await store.delivery(connection, delivery_id), _ABSENT)
        journey = await stations.journey(connection, found.ce_id) if found.ce_id else None
    return answer(DeliveriesDetail(**msgspec.structs.asdict(found), journey=journey))


async def body(request: web.Request) -> web.Response:
    """
    Download the raw body of a delivery.

    The bytes are those of the sender. They are served as a download that no browser executes, since anyone may have sent
    them.
    """
    delivery_id = id_in_path(request, _NOUN)
    async with reading(request) as connection:
        found = require(await store.body(connection, delivery_id), "no body is kept for this id")
    return web.Response(body=found, content_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"})


async def explanation(request: web.Request) -> web.Response:
    """
    Explain why a delivery was refused.

    The gateway tries every secret, the usual ways of rewriting a body and the usual damage to a header on the stored
    delivery.
    """
    delivery_id = id_in_path(request, _NOUN)
    async with reading(request) as connection:
        known_here = circumstances.inputs_of(request.app[SETTINGS].newest, request.app[SENDERS])
        found = await circumstances.explain_delivery(connection, delivery_id, known_here)
        return answer(require(found, _ABSENT))
