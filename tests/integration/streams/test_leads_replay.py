"""Leads in a replay of the log: they get the state of their events, and no CRM is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from schemas.envelope import Event
from streams.leads.handler import LeadsHandler
from tests.integration.streams.delivering import Leads, came, leads_on, round_of
from tests.simulators.crm import status
from tests.simulators.partner import lead

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        yield world


async def test_in_a_replay_leads_get_the_state_of_their_events_and_no_crm_is_called(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500), status(204))
    leads.crm.answers("/other", status(500), status(500), status(410))
    events = [came(lead("1"), leads.clock.now), came(lead("2", "other"), leads.clock.now)]
    await leads.handle(*events)
    async with leads.dispatcher() as dispatcher:
        for _ in range(3):
            await round_of(dispatcher)
            leads.clock.forward(60)
    lost = await leads.rows(STATE_FROM_EVENTS)
    assert {row["status"] for row in lost} == {"delivered", "rejected"}
    events += await replayed_events(leads)
    await restored(leads, *events)
    assert await leads.rows(STATE_FROM_EVENTS) == lost
    await restored(leads, *events[1:2], lose=False)  # later state in the table stays
    assert await leads.rows(STATE_FROM_EVENTS) == lost


async def test_a_replay_holds_undelivered_leads_back_until_a_command(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500))
    events = [came(lead("1"), leads.clock.now), came(lead("2", "other"), leads.clock.now)]
    await leads.handle(events[0])
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    await restored(leads, *events, *await replayed_events(leads))
    leads.clock.forward(120)
    taken = len(leads.crm.taken)
    async with leads.dispatcher() as dispatcher:
        assert await round_of(dispatcher) == 0
        rows = await leads.rows("select status, suppressed, next_attempt_at, attempts from leads order by external_lead_id")
        assert rows == [
            {"status": "retrying", "suppressed": "replay", "next_attempt_at": None, "attempts": 1},
            {"status": "received", "suppressed": "replay", "next_attempt_at": None, "attempts": 0},
        ]
        leads.crm.answers("/acme", status(204))
        await leads.command(events[0].id)
        await leads.command(events[1].id, partner="other")
        assert await round_of(dispatcher) == 2
    assert len(leads.crm.taken) == taken + 2
    assert {row["status"] for row in await leads.rows("select status from leads")} == {"delivered"}


STATE_FROM_EVENTS: Final = """
select l.id, external_lead_id, l.status, payload, received_at, updated_at, version, attempts, failures, l.next_attempt_at,
  (select jsonb_agg(jsonb_build_array(attempt, ended_at, a.status, error, a.next_attempt_at) order by attempt)
   from lead_attempts a where lead_id = l.id) as tried,
  (select jsonb_agg(to_jsonb(h) order by event_id) from history h where aggregate_id = l.id::text) as events
from leads l order by id
"""


async def replayed_events(leads: Leads) -> list[Event]:
    """The worker's own events about leads, as they come back from Kafka."""
    rows = await leads.rows(
        "select o.* from outbox_pending p join outbox o on o.id = event_id where topic = 'lead.partner.events' order by p.id"
    )
    return [
        Event(
            id=row["id"], topic=row["topic"], aggregate_id=row["aggregate_id"], source=row["source"], type=row["type"],
            dataschema=row["dataschema"], occurred_at=row["occurred_at"], traceparent=row["traceparent"], data=bytes(row["data"]),
        )
        for row in rows
    ]  # fmt: skip


async def restored(leads: Leads, *events: Event, lose: bool = True) -> None:
    """Lose the tables, and let the handler bring them back."""
    async with leads.pool.connection() as connection, connection.transaction():
        if lose:
            await connection.execute("truncate leads, lead_attempts, history")
        await LeadsHandler().restore(connection, events)
