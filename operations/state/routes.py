"""Current state of a payment, a refund, a dispute, a subscription, an invoice, a lead or a notification, with its events."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from psycopg import AsyncConnection

from gateway.answers import answer, asked_id, known
from gateway.postgres import reading
from projections import leads, notifications, reads

Read = Callable[[AsyncConnection, str], Awaitable[msgspec.Struct | None]]


async def payment(request: web.Request) -> web.Response:
    """Show a payment with its refunds and disputes, and the events that made it."""
    return await _answer(request, reads.payment)


async def refund(request: web.Request) -> web.Response:
    """Show a refund, and the events that made it."""
    return await _answer(request, reads.refund)


async def dispute(request: web.Request) -> web.Response:
    """Show a dispute, and the events that made it."""
    return await _answer(request, reads.dispute)


async def subscription(request: web.Request) -> web.Response:
    """Show a subscription, and the events that made it."""
    return await _answer(request, reads.subscription)


async def invoice(request: web.Request) -> web.Response:
    """Show an invoice, and the events that made it."""
    return await _answer(request, reads.invoice)


async def lead(request: web.Request) -> web.Response:
    """Show a lead, each attempt to deliver it, and its events."""
    return await _answer(request, leads.lead)


async def notification(request: web.Request) -> web.Response:
    """Show a notification, once the worker has taken its command."""
    asked = asked_id(request, "notification")
    async with reading(request) as connection:
        found = await notifications.notification(connection, asked)
    return answer(known(found, "no notification has this id, or its command is still on the way"))


async def _answer(request: web.Request, read: Read) -> web.Response:
    async with reading(request) as connection:
        return answer(known(await read(connection, request.match_info["id"]), "nothing is known by this id"))
