"""
Commands: each is durable before it is answered; the gateway waits for its effect if the answer needs it.

A command, its event and its task have one id, `command_id`. Under an `Idempotency-Key` a repeated call has the id of the first
one, so it finds that command and changes nothing.
"""

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

import msgspec
import psycopg
from aiohttp import web

from gateway.answers import answer, id_in_path, require
from gateway.commands.settlements import wait_for_wakeup
from gateway.errors import GatewayError
from gateway.keys import CALL, COMMAND_ID, COMMAND_WAIT, RECORDED, SETTLEMENTS
from gateway.postgres import transaction
from outbox import tasks
from outbox.append import append, event_of
from outbox.tasks import Task


class CommandsAccepted(msgspec.Struct, frozen=True, rename="camel"):
    """The command is durable; poll `GET /internal/v1/tasks/{taskId}` for its result."""

    task_id: UUID  #: The id of the command's task.
    accepted: bool = True  #: Always true.


class Command(NamedTuple):
    """
    A command: its `kind` is its task's, `data` the record of its event.

    Commands of one `key` keep their order; without a key there is no order. `version` is the aggregate's, if it has one.
    """

    kind: str
    data: msgspec.Struct
    source: str
    key: str | None = None
    version: int | None = None


def command_id(request: web.Request) -> UUID:
    """The id for the command of this request: that of the first call under the same `Idempotency-Key`, else the call's own."""
    return request[COMMAND_ID] if COMMAND_ID in request else request[CALL].id


def is_repeated(request: web.Request) -> bool:
    """Report whether an earlier call under the same `Idempotency-Key` was interrupted, so that it may have been committed."""
    return command_id(request) != request[CALL].id


async def submit(request: web.Request, command: Command) -> UUID:
    """
    Commit the command with its task; returns the id of both.

    Raises GatewayError `postgres_unavailable`.
    """
    async with transaction(request) as connection:
        return await submit_in(request, connection, command)


async def submit_in(request: web.Request, connection: psycopg.AsyncConnection, command: Command) -> UUID:
    """Write the command and its task in the caller's open transaction; one command a request."""
    task_id = command_id(request)
    # The task exists already if an earlier call under the same key was interrupted after its commit: the command is under way.
    if await tasks.open_task(connection, task_id, command.kind):
        event = event_of(
            command.data,
            aggregate_id=command.key or str(task_id),
            source=command.source,
            occurred_at=datetime.now(UTC),
            trace=request[CALL].trace,
            version=command.version,
        )
        await append(connection, [msgspec.structs.replace(event, id=task_id)])
    request[RECORDED] = True
    return task_id


async def submit_and_wait(request: web.Request, command: Command) -> tuple[UUID, Task | None]:
    """
    Commit the command; returns its id, and its task once that is settled, or None after COMMAND_WAIT.

    The task is None too if Postgres becomes unavailable meanwhile: the command is durable, so this is no refusal.
    """
    task_id = await submit(request, command)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + request.app[COMMAND_WAIT].total_seconds()
    with request.app[SETTLEMENTS].expecting(task_id) as wakeup:
        while True:
            task = await _read(request, task_id)
            if task and task.status != "pending":
                return task_id, task
            if loop.time() >= deadline:
                return task_id, None
            await wait_for_wakeup(wakeup, deadline - loop.time())


def answer_task(task_id: UUID, task: Task | None, result: type[msgspec.Struct]) -> web.Response:
    """200 with the result if the task has one, else 202 with the task's id."""
    if task is None or task.result is None:
        return accepted(task_id)
    return answer(msgspec.convert(task.result, result))


def accepted(task_id: UUID) -> web.Response:
    """202: the command is durable, and its task will have the result."""
    return answer(CommandsAccepted(task_id), HTTPStatus.ACCEPTED)


async def _read(request: web.Request, task_id: UUID) -> Task | None:
    try:
        async with transaction(request) as connection:
            return await tasks.read(connection, task_id)
    except GatewayError:
        return None


async def task(request: web.Request) -> web.Response:
    """
    Read the state of a command.

    A task is `pending` until a worker has handled its command, then `done` with a result or `failed` with a reason. It is
    kept for `RETENTION_DAYS`.
    """
    task_id = id_in_path(request, "task")
    async with transaction(request) as connection:
        return answer(require(await tasks.read(connection, task_id), "no task has this id, or its day is past retention"))
