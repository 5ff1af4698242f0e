"""An error in one lead, in its CRM's answer or in storing its outcome affects that lead only."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.service import running
from schemas.partners import Partner
from streams.leads import crm as crm_module
from streams.leads import delivery_store, settling
from streams.leads import dispatcher as dispatcher_module
from streams.leads.outcomes import outcome_of
from streams.retry_after import parse_retry_after
from tests.integration.streams.delivering import POLICY, Leads, leads_on, round_of
from tests.simulators.crm import SECRET, hang
from tests.simulators.partner import lead
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HARD: Final = b"HTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 99999999999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def leads(database_url: str) -> AsyncIterator[Leads]:
    async with leads_on(database_url) as world:
        yield world


class RawCrm:
    """Answers every request with the same bytes, and closes the connection."""

    def __init__(self) -> None:
        self.answer = b""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def raw_crm() -> AsyncIterator[RawCrm]:
    crm = RawCrm()
    server = await asyncio.start_server(crm.serve, "127.0.0.1", 0)
    async with server:
        crm.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield crm


async def test_a_retry_after_that_is_no_date_affects_only_its_attempt(leads: Leads) -> None:
    """Case 02."""
    async with raw_crm() as raw:
        raw.answer = HARD
        leads.partners["ACME"] = Partner.model_validate({"crm_url": raw.url, "crm_secret": SECRET})
        bad, good = await leads.take_in(lead("ovf-1"), lead("good", "other"))
        async with leads.dispatcher() as dispatcher:
            for _ in range(POLICY.max_attempts + 1):
                await round_of(dispatcher)
                leads.clock.forward(60)
    assert [(each["status"], each["error"]) for each in await leads.attempts(bad)] == [(503, "http_503")] * POLICY.max_attempts
    assert (await leads.one(bad))["status"] == "exhausted"
    assert (await leads.one(good))["status"] == "delivered"


_HEADER: Final = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b"Fri, 31 Dec 99999999999 23:59:59 GMT", b"Fri, 31 Dec 0000 23:59:59 GMT", b"Fri, 31 Dec 2026 23:59:59 +9999",
            b"Fri, 31 Dec 9999 23:59:59 -2359", b"Mon, 01 Jan 0001 00:00:00 +2359", b"9" * 4400, "\u0663".encode(), b"1e9",
            b"Fri, 31 Dec 2026 25:61:61 GMT", b"1\r\nRetry-After: 2", b"\xff\xfe", b"", b"-1", b"31 Dec", b"Fri,",
            b"0" * 40 + b"5",
        ]
    ),
)  # fmt: skip
_LONG: Final = b"HTTP/1.1 %d X\r\nRetry-After: %b\r\nContent-Length: %d\r\n\r\n%b"
_TEXT: Final = st.one_of(
    st.text(),
    _HEADER.map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    _HEADER.map(lambda raw: raw.decode("latin-1")),
)
_ANSWER: Final = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda code, header, body: (
            b"HTTP/1.1 %d X\r\nRetry-After: %b\r\nContent-Length: %d\r\n\r\n%b" % (code, header, len(body), body)
        ),
        st.integers(0, 1000),
        _HEADER,
        st.binary(max_size=40),
    ),
    st.builds(lambda chunk: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk, st.binary(max_size=40)),
    st.builds(lambda status: b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n", st.binary(max_size=20)),
)


async def test_no_bytes_of_a_crm_stop_the_deliveries_to_another(leads: Leads) -> None:
    answers: list[bytes] = []

    @settings(max_examples=120, database=None, suppress_health_check=[*HealthCheck])
    @given(_ANSWER)
    def collect(answer: bytes) -> None:
        answers.append(answer)

    collect()
    async with raw_crm() as raw, leads.dispatcher(breaker_threshold=10_000) as dispatcher:
        leads.partners["ACME"] = Partner.model_validate({"crm_url": raw.url, "crm_secret": SECRET})
        for number, raw.answer in enumerate(answers):
            await leads.take_in(lead(f"bad-{number}"), lead(f"good-{number}", "other"))
            dispatcher._breakers._held.clear()  # the Retry-After of one answer must not delay the next attempt
            await round_of(dispatcher)
    ended = await leads.rows("select error, status from lead_attempts a where ended_at is not null")
    assert len(ended) >= 2 * len(answers)
    assert {row["error"] for row in ended}.isdisjoint({"attempt_failed", "outcome_unwritable", "interrupted"})
    rows = await leads.rows("select status from leads where partner = 'OTHER'")
    assert [row["status"] for row in rows] == ["delivered"] * len(answers)


@settings(max_examples=300)
@given(_TEXT)
def test_no_retry_after_raises(text: str) -> None:
    pause = parse_retry_after(text, datetime(2026, 11, 24, tzinfo=UTC))
    assert pause is None or pause >= timedelta()


class Surprise(Exception):
    """An unexpected error."""


def breaking(original: Callable[..., Any], culprit: str, lead_of: Callable[..., str]) -> Callable[..., Any]:
    """Wrap the function so that it raises if it is called with the bad lead."""

    def broken(*arguments: Any, **named: Any) -> Any:
        if lead_of(*arguments) == culprit:
            raise Surprise("boo\0\udc80")
        return original(*arguments, **named)

    return broken


STEPS: Final[dict[str, Callable[..., Any]]] = {
    "body_of": lambda lead, *_: str(lead.id),
    "signed_headers": lambda message_id, *_: message_id,
}


@pytest.mark.parametrize("step", STEPS)
async def test_an_error_in_an_attempt_is_its_failure_up_to_the_limit(
    leads: Leads, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    bad, good, later = await leads.take_in(lead("bad"), lead("good"), lead("other", "other"))
    monkeypatch.setattr(crm_module, step, breaking(getattr(crm_module, step), str(bad), STEPS[step]))
    async with leads.dispatcher(breaker_threshold=1) as dispatcher:
        for _ in range(POLICY.max_attempts + 1):
            await round_of(dispatcher)
            leads.clock.forward(60)
    assert [each["error"] for each in await leads.attempts(bad)] == ["attempt_failed"] * POLICY.max_attempts
    assert "Surprise: boo\\x00\\udc80" in str((await leads.attempts(bad))[0]["excerpt"])
    assert (await leads.one(bad))["status"] == "exhausted"
    assert [(await leads.one(each))["status"] for each in (good, later)] == ["delivered"] * 2
    emitted = await leads.emitted()
    assert [data["alert"] for kind, data in emitted if kind == "alert.raised"] == ["lead_delivery_exhausted"]


async def test_if_the_decision_fails_a_delivered_lead_is_still_delivered(leads: Leads, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise Surprise

    monkeypatch.setattr(dispatcher_module, "decide", broken)
    leads.crm.answers("/acme", hang)
    bad, good = await leads.take_in(lead("bad"), lead("good", "other"))
    async with leads.dispatcher(timeout=1) as dispatcher:
        for _ in range(POLICY.max_attempts):
            await round_of(dispatcher)
            leads.clock.forward(60)
    assert (await leads.one(good))["status"] == "delivered"
    assert (await leads.one(bad))["status"] == "exhausted"
    assert leads.crm.ids("/other") == [str(good)]


async def test_an_outcome_that_cannot_be_stored_affects_its_own_lead_only(leads: Leads, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await leads.take_in(lead("bad"), *(lead(f"{n}") for n in range(6)), lead("other", "other"))
    bad = ids[0]
    monkeypatch.setattr(settling, "outcome_of", breaking(outcome_of, str(bad), lambda ended, *_: str(ended.lead.id)))
    async with leads.dispatcher() as dispatcher:
        for _ in range(POLICY.max_attempts + 1):
            await round_of(dispatcher)
            leads.clock.forward(60)  # beyond the claim
        await round_of(dispatcher)
    assert [(await leads.one(each))["status"] for each in ids[1:]] == ["delivered"] * 7
    found = await leads.one(bad)
    assert (found["status"], found["next_attempt_at"]) == ("exhausted", None)
    attempts = [each["error"] for each in await leads.attempts(bad)]
    assert attempts == ["interrupted"] * POLICY.max_attempts + ["outcome_unwritable"]
    assert [data["subject"] for kind, data in await leads.emitted() if kind == "alert.raised"] == [str(bad)]


async def test_a_lead_that_ends_its_worker_is_given_up_and_the_others_are_not(leads: Leads) -> None:
    """A worker that dies of a lead leaves every attempt in flight as interrupted, and the next worker repeats all of them."""
    ids = await leads.take_in(*(lead(f"{n}") for n in range(4)))
    killer = ids[2]
    kills = 0
    for _ in range(2 * POLICY.max_attempts):
        async with leads.dispatcher(timeout=30) as dying:
            await dying.run_once()
            while dying._under_way or dying._ended:  # the leads that a worker which dies now has claimed
                under_way = dict(dying._under_way)
                if killer in {lead.id for lead in under_way.values()}:
                    kills += 1
                    for task in under_way:
                        task.cancel()
                    break
                await dying.idle()
                await dying.run_once()
        leads.clock.forward(41)
    assert kills == POLICY.max_attempts
    states = {each: (await leads.one(each))["status"] for each in ids}
    assert states == {each: "exhausted" if each == killer else "delivered" for each in ids}
    found = await leads.one(killer)
    assert (found["status"], found["attempts"], found["failures"]) == ("exhausted", POLICY.max_attempts + 1, 1)
    assert [each["error"] for each in await leads.attempts(killer)] == ["interrupted"] * (POLICY.max_attempts + 1)
    assert [data["alert"] for kind, data in await leads.emitted() if kind == "alert.raised"] == ["lead_delivery_exhausted"]


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "20000-01-01 00:00:00+00"])
async def test_a_lead_that_cannot_be_read_fails_by_itself(leads: Leads, moment: str) -> None:
    bad, good = await leads.take_in(lead("bad"), lead("good"))
    await leads.rows("update leads set received_at = %s where id = %s returning id", moment, bad)
    await leads.rows("update leads set payload = '\\xff'::bytea, partner = 'OTHER' where id = %s returning id", bad)
    async with leads.dispatcher() as dispatcher:
        for _ in range(POLICY.max_attempts):
            await round_of(dispatcher)
            leads.clock.forward(60)
    assert (await leads.one(good))["status"] == "delivered"
    rows = await leads.rows("select status, failures from leads where id = %s", bad)
    assert rows == [{"status": "exhausted", "failures": POLICY.max_attempts}]
    assert {each["error"] for each in await leads.attempts(bad)} == {"lead_unreadable"}


async def test_a_claim_that_fails_for_one_partner_leaves_the_others_theirs(leads: Leads, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = delivery_store.claim

    async def broken(connection: Any, rooms: Any, *given: Any, **named: Any) -> Any:
        if "ACME" in rooms:
            raise Surprise
        return await claim(connection, rooms, *given, **named)

    monkeypatch.setattr(delivery_store, "claim", broken)
    _, good = await leads.take_in(lead("bad"), lead("good", "other"))
    async with leads.dispatcher() as dispatcher:
        await round_of(dispatcher)
    assert (await leads.one(good))["status"] == "delivered"


async def test_the_loop_outlives_a_round_that_fails(leads: Leads, monkeypatch: pytest.MonkeyPatch) -> None:
    async with leads.dispatcher() as dispatcher:
        begin, rounds = dispatcher.begin, 0

        async def broken(connection: Any) -> Any:
            nonlocal rounds
            rounds += 1
            if rounds == 1:
                raise Surprise
            return await begin(connection)

        monkeypatch.setattr(dispatcher, "begin", broken)
        monkeypatch.setattr(dispatcher._failures, "_first", 0.01)
        [good] = await leads.take_in(lead("good"))

        async def delivered() -> bool | None:
            return (await leads.one(good))["status"] == "delivered" or None

        async with running(dispatcher):
            await eventually(delivered)
