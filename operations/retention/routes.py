"""The state of the retention over HTTP."""

from aiohttp import web

from gateway.answers import answer
from gateway.postgres import reading
from operations.retention import store


async def retention(request: web.Request) -> web.Response:
    """
    Read the records that the retention keeps, and its next run.

    Relays run the retention every hour. The answer has the day up to which each kind of records is deleted, and the detached
    days, which can still be attached again.
    """
    async with reading(request) as connection:
        return answer(await store.read(connection))
