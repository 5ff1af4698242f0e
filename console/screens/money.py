"""Payments, subscriptions and invoices: their states, expected amounts, and the events behind each."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from aiohttp import web
from psycopg import AsyncConnection

from console.links import page_of
from console.listing import list_page, of_state
from console.pages import Screen, page
from gateway.answers import require
from gateway.postgres import reading
from operations.state.query import InvoicesQuery, PaymentsQuery, StateQuery, SubscriptionsQuery
from projections import lists, reads
from schemas import text

_GOOD: Final = ("succeeded", "paid", "active", "trialing", "matched", "won", "authenticated", "completed")
_BAD: Final = (
    "failed",
    "payment_failed",
    "uncollectible",
    "past_due",
    "unpaid",
    "halted",
    "mismatched",
    "lost",
    "needs_response",
)
LAMPS: Final[Mapping[str, str]] = MappingProxyType(dict.fromkeys(_GOOD, "none") | dict.fromkeys(_BAD, "much"))
"""The lamp of a state, or of a reconciliation's result; any other word, such as one of a provider, needs attention."""

_PAYMENT: Final = """\
{"id": "pi_1", "object": "payment_intent", "status": "succeeded",
  "amount": 2990, "amount_received": 2990, "currency": "eur", "metadata": {"order_id": "order-7"}}"""
_SUBSCRIPTION: Final = """{"id": "sub_1", "object": "subscription", "status": "active", "customer": "cus_1"}"""
_INVOICE: Final = """\
{"id": "in_1", "object": "invoice", "status": "paid", "customer": "cus_1",
  "amount_due": 2990, "amount_paid": 2990, "currency": "eur"}"""


class Listing(NamedTuple):
    """A list of things of one kind; `example` is the type and the object of a Stripe event that makes one."""

    kind: str
    which: lists.List[Any]
    query: type[StateQuery]
    example: tuple[str, str]


LISTINGS: Final[Mapping[str, Listing]] = MappingProxyType(
    {
        "payments": Listing("payment", lists.PAYMENTS, PaymentsQuery, ("payment_intent.succeeded", _PAYMENT)),
        "subscriptions": Listing(
            "subscription", lists.SUBSCRIPTIONS, SubscriptionsQuery, ("customer.subscription.created", _SUBSCRIPTION)
        ),
        "invoices": Listing("invoice", lists.INVOICES, InvoicesQuery, ("invoice.paid", _INVOICE)),
    }
)
_READ: Final[Mapping[str, Callable[[AsyncConnection, str], Awaitable[Any]]]] = MappingProxyType(
    {
        "payment": reads.payment,
        "refund": reads.refund,
        "dispute": reads.dispute,
        "subscription": reads.subscription,
        "invoice": reads.invoice,
    }
)


async def payments(request: web.Request) -> web.Response:
    """Show the payments, the last changed first."""
    return await _list(request, "payments")


async def subscriptions(request: web.Request) -> web.Response:
    """Show the subscriptions, the last changed first."""
    return await _list(request, "subscriptions")


async def invoices(request: web.Request) -> web.Response:
    """Show the invoices, the last changed first."""
    return await _list(request, "invoices")


async def _list(request: web.Request, name: str) -> web.Response:
    listing = LISTINGS[name]
    shared: dict[str, Any] = {"listing": name, "shown": listing, "listings": LISTINGS, "lamps": LAMPS, "page_of": page_of}
    return await list_page(request, "money.html", listing.query, of_state(listing.which), **shared)


def _one(kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the handler of the page of one thing of the kind."""
    read = _READ[kind]

    async def one(request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        absent = f"no {kind} has this id: its event has not arrived, or waits for the payments worker"
        async with reading(request) as connection:
            found = require(await read(connection, require(wanted if text.accepts(text.Id, wanted) else None, absent)), absent)
        return page(request, "money_state.html", kind=kind, id=wanted, state=found, lamps=LAMPS, page_of=page_of)

    return one


SCREEN: Final = Screen(
    "Money",
    "/console/money",
    (
        web.get("/money", payments, name="console_money"),
        web.get("/money/subscriptions", subscriptions, name="console_subscriptions"),
        web.get("/money/invoices", invoices, name="console_invoices"),
        *(web.get(f"/money/{kind}s/{{id}}", _one(kind), name=f"console_{kind}") for kind in _READ),
    ),
)
