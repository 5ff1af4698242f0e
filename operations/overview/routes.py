"""The overview over HTTP."""

from aiohttp import web

from gateway.answers import answer
from gateway.postgres import reading
from operations.overview import store


async def overview(request: web.Request) -> web.Response:
    """
    Read the state of everything, in one look.

    The ledger as its last sweep left it, the events that wait for Kafka, open dead letters, partners in trouble, open alerts with
    their runbooks, and the connected processes. It may be asked every few seconds: it counts nothing beyond 10,000 rows.
    """
    async with reading(request) as connection:
        return answer(await store.overview(connection))
