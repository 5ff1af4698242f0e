"""The outcome of a command whose answer came before its effect."""

from aiohttp import web

from gateway.answers import answer, asked_id, known
from gateway.postgres import transaction
from outbox import tasks


async def task(request: web.Request) -> web.Response:
    """
    Read the state of a command.

    A task is `pending` until a worker has handled its command, then `done` with a result or `failed` with a reason. It is
    kept for `RETENTION_DAYS`.
    """
    asked = asked_id(request, "task")
    async with transaction(request) as connection:
        return answer(known(await tasks.read(connection, asked), "no task has this id, or its day is past retention"))
