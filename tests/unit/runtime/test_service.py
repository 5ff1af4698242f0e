"""A service continues after any error of a round, waits for a server that is away, and ends when it is closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from runtime.failures import Failures
from runtime.heartbeat import Heartbeat
from runtime.lease import LeaseLost
from runtime.service import WHEN_WOKEN, Service, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 20.0


class Rounds:
    """A service that counts its rounds and raises one of the given errors in each."""

    def __init__(self, *errors: Exception, pause: float = WHEN_WOKEN) -> None:
        self.errors = [*errors]
        self.pause = pause
        self.number = 0
        self._news = asyncio.Event()

    async def __call__(self) -> float:
        self.number += 1
        self._news.set()
        if self.errors:
            raise self.errors.pop(0)
        return self.pause

    async def until(self, number: int) -> None:
        async with asyncio.timeout(LIMIT):
            while self.number < number:
                self._news.clear()
                await self._news.wait()


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"tallyhook_loop_{name}_total", labels) or 0.0


async def test_it_runs_round_after_round_until_it_is_closed() -> None:
    rounds = Rounds(pause=0)
    service = Service("rounds", rounds)
    async with running(service):
        await rounds.until(5)
    ended = rounds.number
    await asyncio.sleep(0)
    assert rounds.number == ended


async def test_a_wake_ends_the_pause_and_one_during_a_round_is_not_lost() -> None:
    rounds = Rounds()
    service = Service("woken", rounds)
    async with running(service):
        await rounds.until(1)
        service.wake()
        await rounds.until(2)

    async def wake_itself() -> float:
        if await rounds() and rounds.number < 5:
            again.wake()
        return WHEN_WOKEN

    again = Service("woken again", wake_itself)
    async with running(again):
        await rounds.until(5)


async def test_a_server_that_is_away_is_a_warning_with_its_reason_and_counted() -> None:
    rounds = Rounds(psycopg.OperationalError("gone"), LeaseLost("silent"))
    failures = Failures("away", postponed="work_postponed", longest_away=0.001)
    with capture_logs() as lines:
        async with running(Service("away", rounds, failures, context=lambda: {"waiting": 7})):
            await rounds.until(3)
    logged = [(line["event"], line["log_level"], line["reason"], line["error"], line["waiting"]) for line in lines]
    assert logged == [
        ("work_postponed", "warning", "postgres_unavailable", "gone", 7),
        ("work_postponed", "warning", "lease_lost", "silent", 7),
    ]
    assert counted("postponed", loop="away", reason="postgres_unavailable") == 1
    assert counted("postponed", loop="away", reason="lease_lost") == 1
    assert counted("failures", loop="away") == 0


async def test_a_surprise_is_an_error_with_its_trace_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.failures._FIRST", 0.001)
    surprise = RuntimeError("who could know")
    rounds = Rounds(surprise)
    with capture_logs() as lines:
        async with running(Service("surprised", rounds, Failures("surprised", failed="work_failed"))):
            await rounds.until(2)
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("work_failed", "work_failed"),
        ("round_failed", "internal_error"),
    ]
    assert (lines[1]["loop"], lines[1]["exc_info"]) == ("surprised", surprise)
    assert counted("failures", loop="surprised") == 1


@pytest.mark.parametrize("error", [psycopg.OperationalError("gone"), RuntimeError("who could know")])
def test_pauses_grow_with_each_failure_in_a_row_up_to_the_longest(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    failures = Failures("growing", longest_away=5.0)
    pauses = [failures.pause_after(error) for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == (5.0 if isinstance(error, psycopg.OperationalError) else 60.0)
    failures.passed()
    assert failures.pause_after(error) == pauses[0]


def test_a_round_that_lasted_begins_a_new_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    moment = 1000.0
    monkeypatch.setattr("runtime.failures.now", lambda: moment)
    failures = Failures("lasting", longest_away=5.0)
    first, second = (failures.pause_after(psycopg.OperationalError()) for _ in range(2))
    failures.begin()
    moment += 6
    assert (first, failures.pause_after(psycopg.OperationalError())) == (first, first) != (second, second)


async def test_a_server_that_is_away_is_retried_after_a_pause_however_often_the_service_is_woken() -> None:
    rounds = Rounds(psycopg.OperationalError("gone"))
    service = Service("patient", rounds, Failures("patient", longest_away=60.0))
    service._failures._in_a_row = 30
    async with running(service):
        await rounds.until(1)
        for _ in range(50):
            service.wake()
            await asyncio.sleep(0)
        assert rounds.number == 1


@pytest.mark.parametrize(("grace", "ended"), [(None, True), (LIMIT, True), (0.0, False)])
async def test_a_running_round_has_the_grace_period_to_end(grace: float | None, ended: bool) -> None:
    begun, release, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run_once() -> float:
        begun.set()
        await release.wait()
        done.set()
        return 0.0

    service = Service("graceful", run_once, grace=grace)
    await service.open()
    await asyncio.wait_for(begun.wait(), LIMIT)
    closing = asyncio.ensure_future(service.close())
    await asyncio.sleep(0)
    if ended:
        release.set()
    await asyncio.wait_for(closing, LIMIT)
    assert done.is_set() is ended


async def test_it_ends_even_where_its_round_loses_the_cancellation() -> None:
    begun = asyncio.Event()

    async def run_once() -> float:
        begun.set()
        try:
            await asyncio.sleep(LIMIT)
        except asyncio.CancelledError:
            raise psycopg.OperationalError("the time-out of a connect") from None
        return 0.0

    service = Service("deaf", run_once)
    await service.open()
    await asyncio.wait_for(begun.wait(), LIMIT)
    await asyncio.wait_for(service.close(), LIMIT)


async def test_its_heart_beats_at_each_round() -> None:
    heartbeat = Heartbeat("beating")
    rounds = Rounds()
    heartbeat._at = 0.0
    async with running(Service("beating", rounds, heartbeat=heartbeat)):
        await rounds.until(1)
        assert heartbeat.silent.total_seconds() < LIMIT


async def test_services_open_in_order_and_close_in_the_opposite_one_whatever_fails() -> None:
    steps: list[str] = []

    class Part:
        def __init__(self, name: str, fails: Callable[[], Awaitable[None]] | None = None) -> None:
            self._name = name
            self._fails = fails

        async def open(self) -> None:
            steps.append(f"{self._name} opens")

        async def close(self) -> None:
            steps.append(f"{self._name} closes")
            if self._fails:
                await self._fails()

    async def fail() -> None:
        raise RuntimeError("does not close")

    with pytest.raises(RuntimeError, match="does not close"):
        async with running(Part("one"), Part("two", fail)):
            steps.append("work")
    assert steps == ["one opens", "two opens", "work", "two closes", "one closes"]


async def test_it_does_not_begin_before_it_is_allowed_to_and_is_not_woken_meanwhile() -> None:
    rounds, looks = Rounds(), 0
    looked = asyncio.Event()

    async def hold() -> float:
        nonlocal looks
        looks += 1
        looked.set()
        return 0.001 if looks == 1 else 60.0

    service = Service("held", rounds, hold=hold)
    async with running(service):
        while looks < 2:
            looked.clear()
            await asyncio.wait_for(looked.wait(), LIMIT)
        for _ in range(50):
            service.wake()
            await asyncio.sleep(0)
        assert (looks, rounds.number) == (2, 0)


async def test_it_begins_once_it_is_allowed_to_and_asks_no_more() -> None:
    rounds, answers = Rounds(pause=0), [0.001, 0.001, 0.0]

    async def hold() -> float:
        return answers.pop(0)

    async with running(Service("held once", rounds, hold=hold)):
        await rounds.until(3)
    assert answers == []


async def test_a_cancellation_from_within_a_round_is_a_surprise_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.failures._FIRST", 0.001)
    rounds = Rounds(pause=0)

    async def run_once() -> float:
        await rounds()
        if rounds.number == 1:
            raise asyncio.CancelledError
        return 0.0

    async with running(Service("cut off", run_once)):
        await rounds.until(3)
    assert counted("failures", loop="cut off") == 1
