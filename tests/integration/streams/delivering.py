"""The leads worker without Kafka, on a real database and a simulated CRM."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from psycopg.rows import dict_row

from outbox.tasks import open_task
from projections.config_view import Config
from runtime.database import make_pool
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event
from schemas.leads import DELIVER, RECEIVED, DeliverLead
from schemas.partners import Partner
from schemas.registry import EVENT_TYPES, encode
from streams.leads.crm import opened_crm
from streams.leads.decisions import Policy
from streams.leads.dispatcher import Dispatcher, Limits
from streams.leads.handler import LeadsHandler
from tests.simulators.crm import SECRET, Crm, running_crm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from runtime.database import Pool

POLICY: Final = Policy(max_attempts=4, base=timedelta(seconds=10), longest=timedelta(seconds=25))
LOOPBACK: Final = (ip_network("127.0.0.0/8"),)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Leads:
    """The leads worker without Kafka: its handler, its dispatchers, and the rows that they wrote."""

    def __init__(self, pool: Pool, crm: Crm, clock: Clock) -> None:
        self.pool = pool
        self.crm = crm
        self.clock = clock
        self.config = Config()
        self.partners = {
            key: Partner.model_validate({"crm_url": f"{crm.url}/{key.lower()}", "crm_secret": SECRET})
            for key in ("ACME", "OTHER")
        }

    @asynccontextmanager
    async def dispatcher(
        self,
        *,
        timeout: float = 5,  # noqa: ASYNC109  # a CRM's, not this function's
        allowed: Any = LOOPBACK,
        holds: Callable[[str], bool] = lambda _: True,
        **changes: Any,
    ) -> AsyncIterator[Dispatcher]:
        limit = timedelta(seconds=timeout)
        limits = Limits(
            POLICY, limit, 10, 2_000_000, 100, timedelta(seconds=10), timedelta(seconds=10), timedelta(milliseconds=10)
        )
        async with opened_crm(limit, allowed, self.clock) as crm:
            limits = limits._replace(**changes)
            yield Dispatcher(self.pool, crm, self.partners, limits, self.config, holds=holds, now=self.clock, draw=lambda: 1.0)

    async def handle(self, *events: Event) -> None:
        async with self.pool.connection() as connection, connection.transaction():
            await LeadsHandler(self.clock).handle(connection, events)

    async def take_in(self, *bodies: bytes) -> list[UUID]:
        events = [came(body, self.clock.now) for body in bodies]
        await self.handle(*events)
        return [event.id for event in events]

    async def command(self, lead_id: UUID, attempt: int | None = None, partner: str = "acme") -> UUID:
        """A command to deliver, with its task."""
        record = DeliverLead(lead_id=lead_id, partner_id=partner, attempt=attempt)
        event = Event(
            id=new_id(), topic=EVENT_TYPES[DELIVER].topic, aggregate_id=str(lead_id), source="/test", type=DELIVER,
            occurred_at=self.clock.now,
            dataschema=EVENT_TYPES[DELIVER].dataschema, traceparent=new_trace().traceparent, data=encode(record),
        )  # fmt: skip
        async with self.pool.connection() as connection:
            await open_task(connection, event.id, DELIVER)
        await self.handle(event)
        return event.id

    async def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        async with self.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return await (await cursor.execute(query, values)).fetchall()

    async def one(self, lead_id: UUID) -> dict[str, Any]:
        return (await self.rows("select * from leads where id = %s", lead_id))[0]

    async def attempts(self, lead_id: UUID) -> list[dict[str, Any]]:
        return await self.rows("select * from lead_attempts where lead_id = %s order by attempt", lead_id)

    async def task(self, task_id: UUID) -> dict[str, Any]:
        return (await self.rows("select * from tasks where id = %s", task_id))[0]

    async def emitted(self) -> list[tuple[str, dict[str, Any]]]:
        """The events that the worker appended, in the relay's order."""
        rows = await self.rows("select type, data from outbox_pending p join outbox o on o.id = p.event_id order by p.id")
        return [(row["type"], json.loads(row["data"])) for row in rows]


def came(body: bytes, at: datetime) -> Event:
    lead_id = new_id()
    return Event(
        id=lead_id, topic=EVENT_TYPES[RECEIVED].topic, aggregate_id=str(lead_id), source="/webhooks/partner", type=RECEIVED,
        occurred_at=at,
        dataschema=EVENT_TYPES[RECEIVED].dataschema, traceparent=new_trace().traceparent, data=body,
    )  # fmt: skip


@asynccontextmanager
async def leads_on(database_url: str) -> AsyncIterator[Leads]:
    pool = make_pool(database_url, size=5, name="test")
    await pool.open()
    async with running_crm() as crm:
        yield Leads(pool, crm, Clock())
    await pool.close()


async def round_of(dispatcher: Dispatcher) -> int:
    """Start the due deliveries, wait for their end, store the outcomes; return how many were settled."""
    await dispatcher.run_once()
    await dispatcher.idle()
    return (await dispatcher.run_once()).settled
