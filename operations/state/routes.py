"""Current state of a payment, a refund, a dispute, a subscription, an invoice or a lead, with the events that made it."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import GatewayError, Reason
from gateway.postgres import transaction
from projections import leads, reads

Read = Callable[[AsyncConnection, str], Awaitable[msgspec.Struct | None]]


async def payment(request: web.Request) -> web.Response:
    """A payment as it stands, with its refunds and disputes, and the events that made it."""
    return await _answer(request, reads.payment)


async def refund(request: web.Request) -> web.Response:
    """A refund as it stands, and the events that made it."""
    return await _answer(request, reads.refund)


async def dispute(request: web.Request) -> web.Response:
    """A dispute as it stands, and the events that made it."""
    return await _answer(request, reads.dispute)


async def subscription(request: web.Request) -> web.Response:
    """A subscription as it stands, and the events that made it."""
    return await _answer(request, reads.subscription)


async def invoice(request: web.Request) -> web.Response:
    """An invoice as it stands, and the events that made it."""
    return await _answer(request, reads.invoice)


async def lead(request: web.Request) -> web.Response:
    """A lead as it stands, every attempt to deliver it, and its events."""
    return await _answer(request, leads.lead)


async def _answer(request: web.Request, read: Read) -> web.Response:
    async with transaction(request) as connection:
        found = await read(connection, request.match_info["id"])
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "nothing is known by this id")
    return web.json_response(body=msgspec.json.encode(found))
