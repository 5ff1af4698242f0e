"""The search over HTTP."""

import msgspec
from aiohttp import web

from gateway.answers import answer
from gateway.parameters import query_of
from gateway.postgres import reading
from operations.find import store
from operations.find.query import FindQuery
from operations.find.store import Finding


class Findings(msgspec.Struct, frozen=True):
    """Everything that was found; empty if nothing has this id."""

    items: list[Finding]  #: The findings.


async def find(request: web.Request) -> web.Response:
    """
    Find everything that an id names.

    It may be an id of ours or of a provider or partner, a trace, a user's id or an e-mail address. For a user, the payments and
    messages are found too. A trace that began elsewhere is searched for in the deliveries of the last day.
    """
    query = query_of(request, FindQuery)
    async with reading(request) as connection:
        return answer(Findings(await store.find(connection, query)))
