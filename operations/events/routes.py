"""The route that reads one event with its causes, consequences and effects."""

import msgspec
from aiohttp import web
from psycopg import AsyncConnection

from gateway.answers import answer, require
from gateway.postgres import reading
from operations.deliveries import store as deliveries
from operations.deliveries.store import Delivery
from operations.events import changes, stations, store
from operations.events.changes import StateChange
from operations.events.stations import CAUSED_MAX, Station
from operations.events.store import Touched


class EventsDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The event, its causes and its consequences; the `causationId` of each makes them a tree."""

    event: Station  #: The event.
    causes: list[Station] = []  #: The events that led to it, the first cause first; at most 20.
    caused: list[Station] = []  #: The events that it caused, directly or not, oldest first; at most 100.
    more: bool = False  #: True if it caused more events than are listed.
    delivery: Delivery | None = None  #: The call that delivered it; absent if the system made it.
    changes: list[StateChange] = []  #: The changes of money by the event: the values before it and with it.
    touched: list[Touched] = []  #: The tasks, messages, leads, attempts and states that these events began or changed.


async def event(request: web.Request) -> web.Response:
    """
    Read one event with its causes, its consequences and everything that these touched.

    The id may be that of the event, of a delivery, or the provider's id of the event; of a payment, refund, dispute, subscription
    or invoice, the event that changed it last is read. Only dead letters have partition and offset: the log does not store them.
    """
    async with reading(request) as connection:
        return answer(await detail(connection, request.match_info["id"]))


async def detail(connection: AsyncConnection, any_id: str) -> EventsDetail:
    """Read the event that the id names, directly or not, with everything about it. Raises GatewayError `not_found`."""
    found = require(await store.find_event(connection, any_id), "this id names no event")
    journey = await stations.journey(connection, found)
    own = require(journey.event, "this id names no event, or its day is past retention")
    caused = journey.caused[:CAUSED_MAX]
    return EventsDetail(
        event=own,
        causes=await stations.causes(connection, found),
        caused=caused,
        more=len(journey.caused) > CAUSED_MAX,
        delivery=await deliveries.delivery(connection, found),
        changes=await changes.changes(connection, found),
        touched=await store.touched(connection, [(each.id, each.key) for each in (own, *caused)]),
    )
