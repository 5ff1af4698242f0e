"""Our commands and events as a worker receives them, with their tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from outbox import tasks
from outbox.append import event_of
from runtime.tracing import new_trace
from schemas.envelope import Event, to_headers
from streams.records import Record

if TYPE_CHECKING:
    from uuid import UUID

    import msgspec


def envelope_of(record: msgspec.Struct, *, subject: str = "s") -> Event:
    """The event that states the record, as it comes from Kafka."""
    return event_of(record, aggregate_id=subject, source="/test", occurred_at=datetime.now(UTC), trace=new_trace())


def record_of(event: Event, *, offset: int = 0) -> Record:
    headers = [(name, str(value).encode()) for name, value in to_headers(event)]
    return Record("commands", 0, offset, event.aggregate_id.encode(), event.data, headers)


async def open_tasks(url: str, *events: Event) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for event in events:
            await tasks.open_task(connection, event.id, event.type)


async def task_of(url: str, task_id: UUID) -> tasks.Task:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found = await tasks.read(connection, task_id)
    assert found is not None
    return found
