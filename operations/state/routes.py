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
    """
    Read the state of a payment, with the events that produced it.

    The answer includes the payment's refunds and disputes.
    """
    return await _answer(request, reads.payment)


async def refund(request: web.Request) -> web.Response:
    """
    Read the state of a refund, with the events that produced it.

    The state is the result of all of the provider's events so far, in any order of arrival.
    """
    return await _answer(request, reads.refund)


async def dispute(request: web.Request) -> web.Response:
    """
    Read the state of a dispute, with the events that produced it.

    The state is the result of all of the provider's events so far, in any order of arrival.
    """
    return await _answer(request, reads.dispute)


async def subscription(request: web.Request) -> web.Response:
    """
    Read the state of a subscription, with the events that produced it.

    The state is the result of all of the provider's events so far, in any order of arrival.
    """
    return await _answer(request, reads.subscription)


async def invoice(request: web.Request) -> web.Response:
    """
    Read the state of an invoice, with the events that produced it.

    The state is the result of all of the provider's events so far, in any order of arrival.
    """
    return await _answer(request, reads.invoice)


async def lead(request: web.Request) -> web.Response:
    """
    Read the state of a lead, with every attempt to deliver it.

    The answer includes the lead's events and when the next attempt is due.
    """
    return await _answer(request, leads.lead)


async def notification(request: web.Request) -> web.Response:
    """
    Read the state of a notification, with its events.

    The notification exists as soon as the notifications worker has taken the command.
    """
    asked = asked_id(request, "notification")
    async with reading(request) as connection:
        found = await notifications.notification(connection, asked)
    return answer(known(found, "no notification has this id, or its command is still on the way"))


async def _answer(request: web.Request, read: Read) -> web.Response:
    async with reading(request) as connection:
        return answer(known(await read(connection, request.match_info["id"]), "nothing is known by this id"))
