"""
Commands: written down before they are answered, and waited for where the answer needs the effect.

The id of the call is the id of its command's event and of its task. It is `request[CALL].id` from the start, so a route may name
it in the command's own data; under an `Idempotency-Key` a repeated call has the id of the first one, and changes nothing.
"""

import asyncio
from uuid import UUID

import msgspec
import psycopg
from aiohttp import web

from gateway.commands.settlements import woken
from gateway.errors import GatewayError
from gateway.keys import CALL, COMMAND_WAIT, RECORDED, SETTLEMENTS
from gateway.postgres import transaction
from outbox import tasks
from outbox.append import NewEvent, append
from outbox.tasks import Task


class CommandsAccepted(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to a command whose effect is still to come: the task tells the rest."""

    task_id: UUID
    accepted: bool = True


async def record(request: web.Request, kind: str, event: NewEvent) -> UUID:
    """
    Commit the command of this request with its task of the kind; returns the id of both.

    Raises GatewayError `postgres_unavailable`.
    """
    async with transaction(request) as connection:
        return await record_in(request, connection, kind, event)


async def record_in(request: web.Request, connection: psycopg.AsyncConnection, kind: str, event: NewEvent) -> UUID:
    """The same in a transaction that is open, to be committed with what else the caller writes; one command a request."""
    command_id = request[CALL].id
    # Known already where the call is a repetition of one that broke off after its commit: the command is under way.
    if await tasks.open_task(connection, command_id, kind):
        await append(connection, [msgspec.structs.replace(event, id=command_id)])
    request[RECORDED] = True
    return command_id


async def settled(request: web.Request, task_id: UUID) -> Task | None:
    """
    The task when its worker is done with it, or None where that takes longer than COMMAND_WAIT.

    None too where Postgres goes away meanwhile: the command is durable, so that is no refusal.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + request.app[COMMAND_WAIT].total_seconds()
    with request.app[SETTLEMENTS].expecting(task_id) as news:
        while True:
            task = await _look(request, task_id)
            if task and task.status != "pending":
                return task
            if loop.time() >= deadline:
                return None
            await woken(news, deadline - loop.time())


def accepted(task_id: UUID) -> web.Response:
    """202: it is written down, and the task tells the rest."""
    return answer_accepted(CommandsAccepted(task_id))


def answer_accepted(told: msgspec.Struct) -> web.Response:
    """The same with what else is known."""
    return web.json_response(status=202, body=msgspec.json.encode(told))


async def _look(request: web.Request, task_id: UUID) -> Task | None:
    try:
        async with transaction(request) as connection:
            return await tasks.read(connection, task_id)
    except GatewayError:
        return None
