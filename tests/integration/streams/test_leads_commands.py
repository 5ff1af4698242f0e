"""Commands about leads: an attempt is made at once, even if the lead waits for a retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from operations.erasure import erasures
from operations.erasure.subjects import Subject
from outbox.append import append, event_of
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.leads import LeadReceived
from tests.integration.streams.delivering import Leads, leads_on, round_of
from tests.simulators.crm import status
from tests.simulators.partner import lead

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        world.clock.forward(-60)  # code that reads the machine's clock too fails on a fast machine as well
        yield world


async def test_a_command_has_the_attempt_made_now_and_answers_with_it(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500), status(500), status(200))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        failed = await leads.command(lead_id, 2)
        assert (await leads.task(failed))["status"] == "pending"
        leads.clock.forward(1)
        assert await round_of(dispatcher) == 1
        assert (await leads.task(failed))["result"] == {"delivered": False, "attempt": 2}
        again = await leads.command(lead_id, 2)
        assert (await leads.task(again))["result"] == {"delivered": False, "attempt": 2}
        assert len(leads.crm.taken) == 2
        delivered = await leads.command(lead_id)
        leads.clock.forward(1)
        await round_of(dispatcher)
        assert (await leads.task(delivered))["result"] == {"delivered": True, "attempt": 3}
        late = await leads.command(lead_id, 9)
        assert (await leads.task(late))["result"] == {"delivered": True, "attempt": 3}
    assert len(leads.crm.taken) == 3


async def test_a_command_revives_a_lead_that_was_given_up(leads: Leads) -> None:
    leads.crm.answers("/acme", status(410), status(200))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        task_id = await leads.command(lead_id)
        leads.clock.forward(1)
        await round_of(dispatcher)
    assert (await leads.task(task_id))["result"] == {"delivered": True, "attempt": 2}
    assert (await leads.one(lead_id))["status"] == "delivered"


async def test_a_command_for_a_lead_that_is_not_there_fails(leads: Leads) -> None:
    [lead_id] = await leads.take_in(lead())
    assert (await leads.task(await leads.command(new_id())))["reason"] == "lead_unknown"
    assert (await leads.task(await leads.command(lead_id, partner="other")))["reason"] == "lead_of_another_partner"


async def test_a_command_for_a_lead_that_the_retention_deleted_does_not_deliver_it_again(leads: Leads) -> None:
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        assert (await leads.one(lead_id))["status"] == "delivered"
        async with leads.pool.connection() as connection:
            await connection.execute("delete from leads")
            await connection.execute(
                "insert into retention_cutoffs (kind, cutoff, moved_at) values ('leads', now() + interval '1 hour', now())"
            )
        task_id = await leads.command(lead_id)
        assert (await leads.task(task_id))["reason"] == "lead_unknown"
        assert await round_of(dispatcher) == 0
    assert len(leads.crm.taken) == 1


async def test_a_command_for_a_lead_that_was_erased_fails_and_its_crm_is_not_called(leads: Leads) -> None:
    [lead_id] = await leads.take_in(lead())
    erasure_id, subject = new_id(), Subject("lead", f"acme/{(await leads.one(lead_id))['external_lead_id']}")
    async with leads.pool.connection() as connection:
        await connection.execute("delete from outbox_pending")
        received = ("partner", subject.lead_key, lead_id)
        await connection.execute("insert into dedup (source, provider_event_id, event_id) values (%s, %s, %s)", received)
        await erasures.begin(connection, erasure_id, subject, reason="request 7", by="tester")
        await erasures.carry_out(connection, erasure_id, subject, by="tester", patience=0)
    assert (await leads.task(await leads.command(lead_id)))["reason"] == "lead_erased"
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    assert leads.crm.taken == []


async def test_a_command_that_overtakes_its_lead_finds_it_in_the_log(leads: Leads) -> None:
    body = LeadReceived(partner_id="acme", external_lead_id="1", payload={})
    event = event_of(body, aggregate_id="x", source="/webhooks/partner", occurred_at=leads.clock.now, trace=new_trace())
    async with leads.pool.connection() as connection:
        await append(connection, [event])
    task_id = await leads.command(event.id)
    leads.clock.forward(1)
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    assert (await leads.task(task_id))["result"] == {"delivered": True, "attempt": 1}
