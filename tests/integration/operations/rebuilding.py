"""A log of events of every kind, the live tables that the workers made from it, and `tallyhook rebuild` on the same database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from psycopg.rows import dict_row

from outbox.append import append
from runtime.database import make_pool
from schemas.envelope import Event
from schemas.topics import Topic
from streams.payments.handler import PaymentsHandler
from streams.store import mark
from tests.command import Command
from tests.integration.operations.replaying import PROJECTED, envelope
from tests.kafka import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runtime.kafka import Cluster
    from schemas.envelope import Event
    from streams.role import Handler


def logged(event: Event, topic: str) -> Event:
    """The event as a row of the outbox."""
    return msgspec.structs.replace(event, topic=topic, aggregate_type="test")


class Log:
    """One database, with only the processes that a test starts."""

    def __init__(self, database_url: str, kafka: Cluster) -> None:
        self.database_url = database_url
        self.environment = {"DATABASE_URL": database_url, **settings_of(kafka), "PATH": "/usr/bin:/bin"}

    def write(self, events: Iterable[Event], topic: str) -> None:
        """Append events as the gateway does."""

        async def work(connection: psycopg.AsyncConnection) -> None:
            await append(connection, [logged(event, topic) for event in events])

        self.work(work)

    def handle(self, events: Sequence[Event], handler: Handler, batch: int = 50) -> None:
        """Handle events as a worker does: those with a mark are skipped."""

        async def work(connection: psycopg.AsyncConnection) -> None:
            for start in range(0, len(events), batch):
                async with connection.transaction():
                    part = events[start : start + batch]
                    fresh = await mark(connection, handler.consumer, [event.id for event in part])
                    taken = [event for event in part if event.id in fresh]
                    await handler.handle(connection, list({event.id: event for event in taken}.values()))

        self.work(work)

    def payments(self, bodies: Iterable[bytes], topic: str = Topic.WEBHOOKS_STRIPE, batch: int = 50) -> list[Event]:
        """Store and handle provider events in this order."""
        events = [envelope(body) for body in bodies]
        self.write(events, topic)
        self.handle(events, PaymentsHandler(), batch)
        return events

    def work(self, work: Any) -> None:
        async def run() -> None:
            async with make_pool(self.database_url, size=1, name="test") as pool, pool.connection() as connection:
                await work(connection)

        asyncio.run(run())

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def change(self, *statements: str) -> int:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return [connection.execute(statement.encode()).rowcount for statement in statements][-1]

    def dump(self, *tables: str) -> dict[str, list[dict[str, Any]]]:
        """Every row of the tables, to the last byte."""
        return {table: self.rows(f"select * from {table} order by {KEYS[table]}") for table in tables or KEYS}

    def emitted(self) -> list[dict[str, Any]]:
        """Return the ids of all events, and of those still pending."""
        return self.rows("select id from outbox order by id") + self.rows("select id from outbox_pending order by id")

    def start(self, *arguments: str) -> Command:
        """`tallyhook rebuild …`."""
        return Command(self.environment, "rebuild", *arguments)

    def rebuild(self, *arguments: str) -> dict[str, Any]:
        with self.start(*arguments, "--json") as command:
            done = command.ended()
        assert done.stdout, done
        return {**msgspec.json.decode(done.stdout), "exit": done.returncode, "err": done.stderr}

    def table(self, report: dict[str, Any], name: str) -> dict[str, Any]:
        """Return the report about one table."""
        [found] = [table for each in report["rebuilt"] for table in each["tables"] if table["table"] == name]
        return dict(found)


KEYS: Final = {
    **PROJECTED,
    "leads": "id",
    "lead_attempts": "lead_id, attempt",
    "notifications": "id",
    "search_documents": "index_name, id",
    "config": "key",
    "config_history": "key, version",
}
