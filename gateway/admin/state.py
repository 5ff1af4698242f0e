"""Current state of a payment, a subscription, an invoice or a lead, with the events that made it."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import GatewayError, Reason
from gateway.postgres import transaction
from projections import leads, reads

Read = Callable[[AsyncConnection, str], Awaitable[msgspec.Struct | None]]


async def payment(request: web.Request) -> web.Response:
    return await _answer(request, reads.payment)


async def subscription(request: web.Request) -> web.Response:
    return await _answer(request, reads.subscription)


async def invoice(request: web.Request) -> web.Response:
    return await _answer(request, reads.invoice)


async def lead(request: web.Request) -> web.Response:
    return await _answer(request, leads.lead)


async def _answer(request: web.Request, read: Read) -> web.Response:
    async with transaction(request) as connection:
        found = await read(connection, request.match_info["id"])
    if found is None:
        raise GatewayError(Reason.NOT_FOUND, "nothing is known by this id")
    return web.json_response(body=msgspec.json.encode(found))
