"""A sender does not wait for its poll: it starts when a commit makes a row due, or at the row's time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from projections.leads import DUE_CHANNEL
from projections.partners import request_probe
from runtime.service import running
from streams.due import settle_in_parts, wake_listener
from tests.integration.streams.delivering import Clock, Leads, leads_on, round_of
from tests.simulators.crm import hang, status
from tests.simulators.partner import lead
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

RARELY: Final = timedelta(hours=1)


class Moving(Clock):
    """A clock that advances with the machine's."""

    def __call__(self) -> datetime:
        self.now = datetime.now(UTC)
        return self.now


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        world.clock = Moving()
        yield world


async def until(leads: Leads, lead_id: UUID, **expected: Any) -> None:
    async def look() -> bool | None:
        found = await leads.one(lead_id)
        return all(found[name] == value for name, value in expected.items()) or None

    await eventually(look)


async def test_a_lead_is_delivered_when_its_commit_is_heard_of(leads: Leads, database_url: str) -> None:
    [first] = await leads.take_in(lead("before"))
    async with (
        leads.dispatcher(poll=RARELY) as dispatcher,
        running(wake_listener(database_url, DUE_CHANNEL, dispatcher), dispatcher),
    ):
        await until(leads, first, status="delivered")
        [second] = await leads.take_in(lead("after"))
        await until(leads, second, status="delivered")


async def test_a_lead_is_delivered_when_its_time_has_come(leads: Leads) -> None:
    early, late = await leads.take_in(lead("early"), lead("late"))
    for lead_id, seconds in ((early, 1), (late, 2)):
        due = datetime.now(UTC) + timedelta(seconds=seconds)
        await leads.rows("update leads set next_attempt_at = %s where id = %s returning id", due, lead_id)
    async with leads.dispatcher(poll=RARELY) as dispatcher, running(dispatcher):
        await until(leads, early, status="delivered")
        await until(leads, late, status="delivered")


async def test_at_rest_it_looks_less_often_until_there_is_something_to_do(leads: Leads) -> None:
    async with leads.dispatcher(poll=timedelta(milliseconds=200)) as dispatcher:
        assert [await dispatcher._turn() for _ in range(3)] == [0.2, 15.0, 15.0]
        [lead_id] = await leads.take_in(lead("1"))
        assert await dispatcher._turn() == 0.2
        await dispatcher.idle()
        await dispatcher._turn()
        assert (await leads.one(lead_id))["status"] == "delivered"


async def test_at_rest_it_looks_before_a_claim_of_another_worker_ends(leads: Leads) -> None:
    async with leads.dispatcher(poll=timedelta(milliseconds=200), lease=timedelta(seconds=2)) as dispatcher:
        assert [await dispatcher._turn() for _ in range(3)] == [0.2, 3.0, 3.0]


async def test_at_rest_it_looks_when_a_crm_that_is_left_alone_may_be_tried(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500))
    await leads.take_in(lead("1"), lead("2"))
    async with leads.dispatcher(
        poll=timedelta(0), cap=1, breaker_threshold=1, breaker_cooldown=timedelta(seconds=5)
    ) as dispatcher:
        await round_of(dispatcher)
        assert [await dispatcher._turn() <= 5 for _ in range(3)] == [True] * 3


async def test_a_requested_probe_is_noticed(leads: Leads, database_url: str) -> None:
    leads.crm.answers("/acme", status(500))
    [lead_id] = await leads.take_in(lead("1"))
    limits: dict[str, Any] = {"poll": RARELY, "breaker_threshold": 1, "breaker_cooldown": RARELY, "breaker_longest": RARELY}
    async with (
        leads.dispatcher(**limits) as dispatcher,
        running(wake_listener(database_url, DUE_CHANNEL, dispatcher), dispatcher),
    ):
        await until(leads, lead_id, status="retrying")
        leads.crm.answers("/acme", status(200))
        async with leads.pool.connection() as connection:
            await request_probe(connection, "ACME")
        await until(leads, lead_id, status="delivered")


async def test_a_hint_while_the_crm_is_left_alone_makes_no_attempt(leads: Leads, database_url: str) -> None:
    leads.crm.answers("/acme", status(500))
    [lead_id] = await leads.take_in(lead("1"))
    limits: dict[str, Any] = {"poll": RARELY, "breaker_threshold": 1, "breaker_cooldown": RARELY, "breaker_longest": RARELY}
    async with (
        leads.dispatcher(**limits) as dispatcher,
        running(wake_listener(database_url, DUE_CHANNEL, dispatcher), dispatcher),
    ):
        await until(leads, lead_id, status="retrying")
        [other] = await leads.take_in(lead("2"))
        [healthy] = await leads.take_in(lead("3", "other"))
        await until(leads, healthy, status="delivered")
        assert (await leads.one(other))["attempts"] == 0


async def test_an_attempt_that_is_cut_off_has_ended_when_the_sender_is_closed(
    leads: Leads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it continues on connections that are closed meanwhile, and its error is lost."""
    monkeypatch.setattr("streams.due._LAST_ANSWERS", 0.0)
    leads.crm.answers("/acme", hang)
    [lead_id] = await leads.take_in(lead("1"))
    before = asyncio.all_tasks()

    async def asked() -> bool | None:
        return bool(leads.crm.taken) or None

    async with leads.dispatcher() as dispatcher:
        await dispatcher.run_once()
        await eventually(asked)
        [attempt] = [task for task in asyncio.all_tasks() - before if "DueSender._attempt" in repr(task)]
        await dispatcher.close()
        assert attempt.done()
    leads.crm.release()
    assert (await leads.one(lead_id))["status"] == "delivering"


async def test_of_a_batch_the_one_that_cannot_be_written_is_found_and_the_others_are_written() -> None:
    written: list[int] = []
    culprits: list[tuple[int, str]] = []

    async def write(batch: Sequence[int]) -> int:
        if 5 in batch:
            raise ValueError("not this one")
        written.extend(batch)
        return len(batch)

    async def culprit(one: int, error: Exception) -> int:
        culprits.append((one, str(error)))
        return 0

    assert await settle_in_parts(range(8), write, culprit) == 7
    assert sorted(written) == [0, 1, 2, 3, 4, 6, 7]
    assert culprits == [(5, "not this one")]
