"""The overview over HTTP."""

from aiohttp import web

from gateway.answers import answer
from gateway.postgres import reading
from operations.overview import store


async def overview(request: web.Request) -> web.Response:
    """
    Read the state of the whole system in one call.

    The answer has the result of the ledger's last sweep, the events that wait for Kafka, the open dead letters, the partners in
    trouble, the open alerts with their runbooks, and the connected processes. It may be requested every few seconds, since it
    counts at most 10,000 rows of each kind.
    """
    async with reading(request) as connection:
        return answer(await store.overview(connection))
