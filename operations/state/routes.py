"""Current state of a payment, a refund, a dispute, a subscription, an invoice, a lead or a notification, with its events."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from psycopg import AsyncConnection

from gateway.answers import answer, asked_id, known
from gateway.postgres import reading
from gateway.route import Handler
from projections import leads, notifications, reads

Read = Callable[[AsyncConnection, str], Awaitable[msgspec.Struct | None]]


def _view(summary: str, description: str, read: Read) -> Handler:
    """The handler that answers with what is read of the id; its texts are published, as a docstring is."""

    async def view(request: web.Request) -> web.Response:
        async with reading(request) as connection:
            return answer(known(await read(connection, request.match_info["id"]), "nothing is known by this id"))

    view.__doc__ = f"{summary}\n\n{description}"
    return view


def _folded(thing: str, read: Read, more: str = "") -> Handler:
    """The view of a state that is the result of a provider's events."""
    any_order = "The state is the result of all of the provider's events so far, in any order of arrival."
    return _view(f"Read the state of {thing}, with the events that produced it.", more or any_order, read)


payment = _folded("a payment", reads.payment, "The answer includes the payment's refunds and disputes.")
refund = _folded("a refund", reads.refund)
dispute = _folded("a dispute", reads.dispute)
subscription = _folded("a subscription", reads.subscription)
invoice = _folded("an invoice", reads.invoice)
lead = _view(
    "Read the state of a lead, with every attempt to deliver it.",
    "The answer includes the lead's events and when the next attempt is due.",
    leads.lead,
)


async def notification(request: web.Request) -> web.Response:
    """
    Read the state of a notification, with its events.

    The notification exists as soon as the notifications worker has taken the command.
    """
    asked = asked_id(request, "notification")
    async with reading(request) as connection:
        found = await notifications.notification(connection, asked)
    return answer(known(found, "no notification has this id, or its command is still on the way"))
