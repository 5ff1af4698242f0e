"""
The state of a command: a row that its worker settles in the transaction of the effects.

A task's id is the id of its command's event, so one id leads from the answer to the record on Kafka and the mark of its worker.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

Status = Literal["pending", "done", "failed"]

SETTLED_CHANNEL: Final = "tasks"
"""The payload of NOTIFY is the task's id: a hint to waiting requests, which then read the row."""


class Task(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The state of the command."""

    task_id: UUID  #: The id of the task and of its command.
    kind: str  #: The event type of the command, such as `cache.invalidate`.
    status: Status  #: `pending` until a worker has handled the command, then `done` or `failed`.
    created_at: datetime  #: When the command was committed.
    settled_at: datetime | None = None  #: When the task was done or failed; absent before.
    result: dict[str, Any] | None = None  #: The result of a done task, by kind.
    reason: str | None = None  #: The stable word for the failure; absent otherwise.


_SETTLE: Final = """
with settled as (
  update tasks set status = %s, result = %s, reason = %s, settled_at = now() where id = %s and status = 'pending' returning id)
select pg_notify('tasks', id::text) from settled
"""

# The bounds of the ids let Postgres leave out the partitions of other days.
_FINISH_ALL: Final = """
with settled as (
  update tasks t set status = 'done', result = s.result, settled_at = now()
  from jsonb_to_recordset(%s::jsonb) as s(id uuid, result jsonb)
  where t.id = s.id and t.id >= %s and t.id <= %s and t.status = 'pending' returning t.id)
select pg_notify('tasks', id::text) from settled
"""


async def open_task(connection: AsyncConnection, task_id: UUID, kind: str) -> bool:
    """Open the task of a command in the transaction that appends it; return False if it exists already."""
    cursor = await connection.execute("insert into tasks (id, kind) values (%s, %s) on conflict do nothing", (task_id, kind))
    return cursor.rowcount == 1


async def finish(connection: AsyncConnection, task_id: UUID, result: dict[str, Any]) -> None:
    """Settle a task as done, in the transaction of its effects; a settled or missing task stays as it is."""
    await connection.execute(_SETTLE, ("done", Jsonb(result), None, task_id))


async def finish_all(connection: AsyncConnection, results: Mapping[UUID, dict[str, Any]]) -> None:
    """Settle many tasks as done, in one statement."""
    if results:
        rows = [{"id": task_id, "result": result} for task_id, result in results.items()]
        # As one document: a list of them takes psycopg longer than all else that a worker does with a task.
        await connection.execute(_FINISH_ALL, (msgspec.json.encode(rows).decode(), min(results), max(results)))


async def fail(connection: AsyncConnection, task_id: UUID, reason: str) -> None:
    """Settle a task as failed, in the transaction that records the failure."""
    await connection.execute(_SETTLE, ("failed", None, reason, task_id))


async def read(connection: AsyncConnection, task_id: UUID) -> Task | None:
    query = "select id, kind, status, created_at, settled_at, result, reason from tasks where id = %s"
    row = await (await connection.execute(query, (task_id,))).fetchone()
    if row is None:
        return None
    names = ("task_id", "kind", "status", "created_at", "settled_at", "result", "reason")
    return Task(**dict(zip(names, row, strict=True)))
