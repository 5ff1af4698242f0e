"""Delivery of leads to a CRM: when they are tried, what is stored about it, and that each arrives once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from runtime.service import running
from schemas.leads import RECEIVED
from schemas.partners import Partner
from streams.claims import Claims
from tests.integration.streams.delivering import Leads, came, leads_on, round_of
from tests.simulators.crm import SECRET, Crm, close, hang, status
from tests.simulators.partner import lead
from tests.waiting import LIMIT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        yield world


async def test_a_lead_is_delivered_once_and_an_event_emitted(leads: Leads) -> None:
    [lead_id] = await leads.take_in(lead("crm-1", name="Zoë"))
    async with leads.dispatcher() as dispatcher:
        assert await round_of(dispatcher) == 1
        assert await round_of(dispatcher) == 0
    [taken] = leads.crm.taken
    assert (taken.path, taken.message_id) == ("/acme", str(lead_id))
    assert taken.data == {
        "leadId": str(lead_id), "partnerId": "acme", "externalLeadId": "crm-1", "payload": {"name": "Zoë"},
    }  # fmt: skip
    found = await leads.one(lead_id)
    assert (found["status"], found["attempts"], found["failures"], found["next_attempt_at"]) == ("delivered", 1, 0, None)
    [attempt] = await leads.attempts(lead_id)
    assert (attempt["attempt"], attempt["status"], attempt["error"]) == (1, 204, None)
    assert attempt["started_at"] <= attempt["ended_at"]
    data = {"partnerId": "acme", "externalLeadId": "crm-1", "attempt": 1, "version": 2, "status": 204}
    assert await leads.emitted() == [("lead.delivered", data)]
    assert [row["type"] for row in await leads.rows("select type from history order by event_id")] == [RECEIVED, "lead.delivered"]


async def test_the_schedule_doubles_and_ends_in_an_alert(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500, "out of order"))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        for pause in (10, 20, 25):
            assert await round_of(dispatcher) == 1
            assert (await leads.one(lead_id))["next_attempt_at"] == leads.clock.now + timedelta(seconds=pause)
            leads.clock.forward(pause - 0.001)
            assert await round_of(dispatcher) == 0
            leads.clock.forward(0.001)
        assert await round_of(dispatcher) == 1
        leads.clock.forward(1000)
        assert await round_of(dispatcher) == 0
    found = await leads.one(lead_id)
    assert (found["status"], found["attempts"], found["failures"], found["next_attempt_at"]) == ("exhausted", 4, 4, None)
    attempts = await leads.attempts(lead_id)
    assert [(row["status"], row["error"], row["excerpt"]) for row in attempts] == [(500, "http_500", "out of order")] * 4
    assert len(set(leads.crm.ids("/acme"))) == 1
    assert len({taken.body for taken in leads.crm.taken}) == 1
    emitted = await leads.emitted()
    assert [kind for kind, _ in emitted] == ["lead.delivery.failed"] * 4 + ["lead.delivery.exhausted", "alert.raised"]
    assert [data["version"] for _, data in emitted[:-1]] == [2, 3, 4, 5, 6] == list(range(2, found["version"] + 1))
    assert ["nextAttemptAt" in data for _, data in emitted[:4]] == [True, True, True, False]
    assert (emitted[-1][1]["alert"], emitted[-1][1]["subject"]) == ("lead_delivery_exhausted", str(lead_id))


async def test_a_retry_after_is_waited_for(leads: Leads) -> None:
    leads.crm.answers("/acme", status(429, Retry_After="300"), status(200))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        assert (await leads.one(lead_id))["next_attempt_at"] == leads.clock.now + timedelta(seconds=300)
        leads.clock.forward(300)
        await round_of(dispatcher)
    assert (await leads.one(lead_id))["status"] == "delivered"


@pytest.mark.parametrize("code", [429, 503])
async def test_a_retry_after_delays_the_whole_partner_and_no_other(leads: Leads, code: int) -> None:
    leads.crm.answers("/acme", status(code, Retry_After="300"), status(204))
    await leads.take_in(*(lead(f"{n}") for n in range(3)), *(lead(f"{n}", "other") for n in range(3)))
    async with leads.dispatcher(cap=1) as dispatcher:
        for _ in range(4):
            await round_of(dispatcher)
        assert (len(leads.crm.ids("/acme")), len(leads.crm.ids("/other"))) == (1, 3)
        rows = await leads.rows("select attempts from leads where partner = 'ACME' order by attempts")
        assert [row["attempts"] for row in rows] == [0, 0, 1]  # a delay uses up no attempt
        leads.clock.forward(300)
        for _ in range(4):
            await round_of(dispatcher)
    assert [row["status"] for row in await leads.rows("select status from leads")] == ["delivered"] * 6


async def test_a_crm_that_is_gone_is_not_called_again(leads: Leads) -> None:
    leads.crm.answers("/acme", status(410))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    assert (await leads.one(lead_id))["status"] == "rejected"
    assert [kind for kind, _ in await leads.emitted()] == ["lead.delivery.failed", "alert.raised"]


async def test_a_redirect_is_not_followed(leads: Leads) -> None:
    leads.crm.answers("/acme", status(307, Location=f"{leads.crm.url}/elsewhere"))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    assert [taken.path for taken in leads.crm.taken] == ["/acme"]
    assert [(row["status"], row["error"]) for row in await leads.attempts(lead_id)] == [(307, "http_307")]


@pytest.mark.parametrize(("step", "limit", "error"), [(close, LIMIT, "connection_lost"), (hang, 0.2, "timeout")])
async def test_a_crm_that_does_not_answer_is_a_failed_attempt(leads: Leads, step: Any, limit: float, error: str) -> None:
    leads.crm.answers("/acme", step)
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher(timeout=limit) as dispatcher:
        await round_of(dispatcher)
    assert [(row["status"], row["error"]) for row in await leads.attempts(lead_id)] == [(None, error)]
    assert (await leads.one(lead_id))["status"] == "retrying"


async def test_of_a_long_answer_two_kilobytes_are_kept(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500, "é\0" * 100_000))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    [attempt] = await leads.attempts(lead_id)
    assert 2000 < len(attempt["excerpt"].encode()) <= 2048


@pytest.mark.parametrize(
    ("host", "error"),
    [
        ("127.0.0.1", "address_refused"),
        ("localhost", "address_refused"),
        ("[::ffff:127.0.0.1]", "address_refused"),
        ("0x7f000001", "address_refused"),
    ],
)
async def test_our_own_network_is_out_of_reach_unless_allowed(leads: Leads, host: str, error: str) -> None:
    address = leads.crm.url.replace("127.0.0.1", host)
    leads.partners["ACME"] = Partner.model_validate({"crm_url": f"{address}/acme", "crm_secret": SECRET})
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher(allowed=()) as dispatcher:
        await round_of(dispatcher)
    assert leads.crm.taken == []
    assert [row["error"] for row in await leads.attempts(lead_id)] == [error]


async def test_a_lead_of_a_partner_without_crm_is_tried_so_that_its_failure_is_recorded(leads: Leads) -> None:
    [lead_id] = await leads.take_in(lead(partner="nobody"))
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    assert [row["error"] for row in await leads.attempts(lead_id)] == ["crm_not_configured"]


async def test_a_slow_partner_delays_no_other(leads: Leads) -> None:
    leads.crm.answers("/acme", hang)
    await leads.take_in(*(lead(f"slow-{n}") for n in range(50)))
    await leads.take_in(*(lead(f"quick-{n}", "other") for n in range(50)))
    async with leads.dispatcher(timeout=30) as dispatcher:

        async def all_quick() -> bool | None:
            [row] = await leads.rows("select count(*) from leads where partner = 'OTHER' and status = 'delivered'")
            return row["count"] == 50 or None

        async with running(dispatcher):
            assert await eventually(all_quick)
            assert len(leads.crm.ids("/acme")) == 10  # its cap
            leads.crm.release()
    # The attempts in flight when the worker stopped have been stored.
    [row] = await leads.rows("select count(*) from leads where partner = 'ACME' and status = 'delivered'")
    assert row["count"] >= 10


async def test_large_leads_are_sent_few_at_a_time_and_one_larger_than_the_partners_part_alone(leads: Leads) -> None:
    sizes = [200_000, 200_000, 200_000, 900_000, 100]
    ids = [(await leads.take_in(lead(f"crm-{place}", note="x" * size)))[0] for place, size in enumerate(sizes)]
    await leads.take_in(lead("other-1", partner="other", note="x" * 200_000))
    async with leads.dispatcher(size=1_000_000) as dispatcher:  # two partners, so half of the limit for each
        for together in ([*ids[:2]], [ids[2]], [ids[3]], [ids[4]]):
            before = len(leads.crm.ids("/acme"))
            await round_of(dispatcher)
            assert sorted(leads.crm.ids("/acme")[before:]) == sorted(map(str, together))
    assert len(leads.crm.ids("/other")) == 1


@pytest.mark.parametrize(("good", "alerts"), [(0, ["ACME"]), (31, [])])
async def test_a_partner_whose_attempts_fail_in_number_and_share_is_an_alert(leads: Leads, good: int, alerts: list[str]) -> None:
    bad = [lead(f"bad-{n}", ("acme", "ACME")[n % 2]) for n in range(10)]  # one partner, in any spelling
    leads.crm.answers("/acme", *([status(204)] * good), status(500))
    async with leads.dispatcher(cap=50) as dispatcher:
        await leads.take_in(*(lead(f"good-{n}") for n in range(good)))
        await round_of(dispatcher)
        await leads.take_in(*bad)
        await round_of(dispatcher)
    assert [data["subject"] for kind, data in await leads.emitted() if kind == "alert.raised"] == alerts


async def test_the_breaker_stops_leads_to_a_dead_crm_and_allows_one_probe(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500))
    await leads.take_in(*(lead(f"{n}") for n in range(30)))
    # The breaker uses the machine's clock: with a cool-down of zero it is half open at the next check.
    limits = {"breaker_threshold": 5, "breaker_cooldown": timedelta(), "cap": 5}
    async with leads.dispatcher(**limits) as dispatcher:
        await dispatcher.run_once()
        await dispatcher.idle()
        assert await dispatcher.run_once() == (1, 5)
    leads.crm.taken.clear()
    async with leads.dispatcher(
        **limits | {"breaker_cooldown": timedelta(hours=1), "breaker_longest": timedelta(hours=1)}
    ) as dispatcher:
        for _ in range(3):
            await round_of(dispatcher)
        assert len(leads.crm.taken) == 1  # it continues with the failures that the other worker counted


async def test_two_workers_deliver_each_lead_once(leads: Leads) -> None:
    ids = await leads.take_in(*(lead(f"{n}", partner) for n in range(100) for partner in ("acme", "other")))
    async with leads.dispatcher() as first, leads.dispatcher() as second:

        async def all_there() -> bool | None:
            [row] = await leads.rows("select count(*) from leads where status = 'delivered'")
            return row["count"] == 200 or None

        async with running(first, second):
            assert await eventually(all_there)
    assert sorted(taken.message_id for taken in leads.crm.taken) == sorted(map(str, ids))
    assert [kind for kind, _ in await leads.emitted()] == ["lead.delivered"] * 200


async def test_a_worker_that_was_stopped_past_its_claim_does_not_send(leads: Leads) -> None:
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher(lease=timedelta(microseconds=10), breaker_threshold=1) as dispatcher:
        await round_of(dispatcher)
    assert leads.crm.taken == []
    assert [row["error"] for row in await leads.attempts(lead_id)] == ["interrupted"]
    async with leads.dispatcher() as dispatcher:
        leads.clock.forward(11)
        await round_of(dispatcher)
    assert leads.crm.ids("/acme") == [str(lead_id)]


async def test_a_lead_whose_claim_is_over_is_not_sent_on_an_open_connection(leads: Leads) -> None:
    first, second = await leads.take_in(lead("1"), lead("2"))
    async with leads.dispatcher(cap=1) as dispatcher:
        await round_of(dispatcher)
        dispatcher._claims = Claims(timedelta(microseconds=10))
        await round_of(dispatcher)
        assert leads.crm.ids("/acme") == [str(first)]
        assert [row["error"] for row in await leads.attempts(second)] == ["interrupted"]


async def test_a_claim_is_renewed_while_a_crm_takes_its_time(leads: Leads) -> None:
    leads.crm.answers("/acme", hang)
    await leads.take_in(lead())
    async with leads.dispatcher(timeout=30, lease=timedelta(seconds=10)) as slow, leads.dispatcher() as other:
        await slow.run_once()
        await eventually(lambda: _reached(leads.crm, 1))
        for _ in range(4):
            leads.clock.forward(10)
            slow._claims._renew_at = 0.0
            await slow.run_once()
            assert await round_of(other) == 0
        leads.crm.release()
        await slow.idle()
        assert (await slow.run_once()).settled == 1
    assert len(leads.crm.taken) == 1


async def test_a_worker_that_dies_while_sending_leaves_a_lead_that_is_sent_again_under_the_same_id(leads: Leads) -> None:
    leads.crm.answers("/acme", hang, status(204))
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher(timeout=30) as dying, leads.dispatcher(timeout=30) as living:
        await dying.run_once()
        await eventually(lambda: _reached(leads.crm, 1))
        assert await round_of(living) == 0
        leads.clock.forward(41)  # the claim has run out
        assert await round_of(living) == 1
        # The dead one comes back from a long sleep, with an answer that is no longer wanted.
        leads.crm.release()
        await dying.idle()
        assert (await dying.run_once()).settled == 0
    assert leads.crm.ids("/acme") == [str(lead_id)] * 2
    attempts = [(row["attempt"], row["status"], row["error"]) for row in await leads.attempts(lead_id)]
    assert attempts == [(1, None, "interrupted"), (2, 204, None)]
    found = await leads.one(lead_id)
    assert (found["status"], found["failures"]) == ("delivered", 0)
    assert [kind for kind, _ in await leads.emitted()] == ["lead.delivered"]


async def _reached(crm: Crm, number: int) -> bool | None:
    return len(crm.taken) >= number or None


async def test_the_same_event_twice_changes_nothing(leads: Leads) -> None:
    event = came(lead(), leads.clock.now)
    await leads.handle(event)
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        await leads.handle(event)
        await round_of(dispatcher)
    assert (await leads.one(event.id))["status"] == "delivered"
    assert len(leads.crm.taken) == 1


async def test_an_attempt_that_ended_while_postgres_was_away_is_stored_later(leads: Leads, database_url: str) -> None:
    [lead_id] = await leads.take_in(lead())
    async with leads.dispatcher() as dispatcher:
        await dispatcher.run_once()
        await dispatcher.idle()
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
            await other.execute("alter table leads rename to away")
            with pytest.raises(psycopg.errors.UndefinedTable):
                await dispatcher.run_once()
            await other.execute("alter table away rename to leads")
        assert (await dispatcher.run_once()).settled == 1
    assert (await leads.one(lead_id))["status"] == "delivered"


async def test_leads_of_a_paused_partner_wait_and_use_up_no_attempt(leads: Leads) -> None:
    leads.config.replace({"partner.ACME.paused": True, "partner.NOBODY.paused": True})
    paused = await leads.take_in(lead(), lead(partner="nobody"))
    [other] = await leads.take_in(lead(partner="other"))
    async with leads.dispatcher() as dispatcher:
        assert await round_of(dispatcher) == 1
        assert (await leads.one(other))["status"] == "delivered"
        assert {(await leads.one(each))["status"] for each in paused} == {"received"}
        leads.config.replace({"partner.ACME.paused": False})
        assert await round_of(dispatcher) == 1
    assert (await leads.one(paused[0]))["status"] == "delivered"


async def test_the_attempts_allowed_follow_the_configuration(leads: Leads) -> None:
    leads.crm.answers("/acme", status(500))
    leads.crm.answers("/other", status(500))
    leads.config.replace({"lead.max_attempts": 2, "partner.OTHER.max_attempts": 1})
    [acme, other] = await leads.take_in(lead(), lead(partner="other"))
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
        assert [(await leads.one(each))["status"] for each in (acme, other)] == ["retrying", "exhausted"]
        leads.clock.forward(10)
        await round_of(dispatcher)
    assert (await leads.one(acme))["status"] == "exhausted"
