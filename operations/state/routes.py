"""Current state: one payment, refund, dispute, subscription, invoice, lead or notification with its events, and lists of them."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from psycopg import AsyncConnection

from gateway.answers import answer, id_in_path, require
from gateway.paging import Page
from gateway.parameters import query_of
from gateway.postgres import reading
from gateway.route import Handler
from operations.state.query import (
    InvoicesQuery,
    LeadsQuery,
    NotificationsQuery,
    PaymentsQuery,
    StateQuery,
    SubscriptionsQuery,
    cursor_after,
)
from projections import leads, lists, notifications, reads
from projections.list_items import InvoiceItem, LeadItem, NotificationItem, PaymentItem, SubscriptionItem

Read = Callable[[AsyncConnection, str], Awaitable[msgspec.Struct | None]]


def _view(summary: str, description: str, read: Read) -> Handler:
    """Return the handler of the state with the id of the path; its texts are published in the OpenAPI document."""

    async def view(request: web.Request) -> web.Response:
        async with reading(request) as connection:
            return answer(require(await read(connection, request.match_info["id"]), "nothing has this id"))

    view.__doc__ = f"{summary}\n\n{description}"
    return view


def _folded(thing: str, read: Read, more: str = "") -> Handler:
    """Return the view of a state that is the result of a provider's events."""
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

    The notification exists as soon as the notifications worker has handled the command.
    """
    asked = id_in_path(request, "notification")
    async with reading(request) as connection:
        found = await notifications.notification(connection, asked)
    return answer(require(found, "no notification has this id, or its command is not handled yet"))


class PaymentsPage(Page[PaymentItem], frozen=True):
    """One page of the payments, the last changed first."""


class SubscriptionsPage(Page[SubscriptionItem], frozen=True):
    """One page of the subscriptions, the last changed first."""


class InvoicesPage(Page[InvoiceItem], frozen=True):
    """One page of the invoices, the last changed first."""


class LeadsPage(Page[LeadItem], frozen=True):
    """One page of the leads, newest first."""


class NotificationsPage(Page[NotificationItem], frozen=True):
    """One page of the notifications, newest first."""


_SHORT: str = f"""
A page may be shorter than `limit`, or empty, and still have a `next`: a page reads at most {lists.ROWS_READ_MAX:,} rows."""


def _list(summary: str, description: str, which: lists.List[Any], query: type[StateQuery], page: type[Page[Any]]) -> Handler:
    """Return the handler of a page of the list; its texts are published in the OpenAPI document."""

    async def view(request: web.Request) -> web.Response:
        asked = query_of(request, query).list_query(datetime.now(UTC))
        async with reading(request) as connection:
            found = await lists.read(connection, which, asked)
        return answer(page(found.items, cursor_after(found.last)))

    view.__doc__ = f"{summary}\n\n{description}{_SHORT}"
    return view


_CHANGED = "`from` and `to` are about the time of the last change, by the provider's clock."
payments = _list(
    "List the payments, the last changed first.",
    f"With `reconciliation`, only payments with this result of the comparison with their expectation. {_CHANGED}",
    lists.PAYMENTS, PaymentsQuery, PaymentsPage,
)  # fmt: skip
subscriptions = _list(
    "List the subscriptions, the last changed first.", _CHANGED, lists.SUBSCRIPTIONS, SubscriptionsQuery, SubscriptionsPage
)
invoices = _list("List the invoices, the last changed first.", _CHANGED, lists.INVOICES, InvoicesQuery, InvoicesPage)
all_leads = _list(
    "List the leads, newest first.", "`from` and `to` are about the time at which a lead arrived.",
    lists.LEADS, LeadsQuery, LeadsPage,
)  # fmt: skip
all_notifications = _list(
    "List the notifications, newest first.", "`from` and `to` are about the time of the command.",
    lists.NOTIFICATIONS, NotificationsQuery, NotificationsPage,
)  # fmt: skip
