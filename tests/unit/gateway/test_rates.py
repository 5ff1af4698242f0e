"""A gateway that counts alone, and the lots that it draws if it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import parse

from gateway.errors import CalledTooOften, Reason
from gateway.webhooks import rates
from gateway.webhooks.rates import Rates, lot_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def alone(rate: str, clock: Clock) -> Rates:
    return Rates(parse(rate), None, clock=clock)


async def taken(limited: Rates, client: str, calls: int) -> int:
    """Make calls, and return the number of accepted ones."""
    passed = 0
    for _ in range(calls):
        try:
            await limited.acquire(client)
        except CalledTooOften:
            continue
        passed += 1
    return passed


async def test_a_client_has_its_rate_and_gets_it_back_with_time() -> None:
    limited = alone("10/second", clock := Clock())
    assert await taken(limited, "a", 30) == 10
    clock.now += 0.55
    assert await taken(limited, "a", 30) == 5
    clock.now += 60
    assert await taken(limited, "a", 30) == 10


@pytest.mark.parametrize(("rate", "processes", "each"), [("10/second", 2, 5), ("100/minute", 4, 25), ("1/second", 4, 1)])
async def test_the_processes_of_a_gateway_share_a_rate_that_they_count_alone(rate: str, processes: int, each: int) -> None:
    limited = Rates(parse(rate), None, clock=Clock(), share=1 / processes)
    assert await taken(limited, "a", 200) == each
    assert await taken(limited.with_rate(parse("20/hour")), "a", 200) == 20 / processes


async def test_clients_do_not_count_for_each_other() -> None:
    limited = alone("2/minute", Clock())
    assert [await taken(limited, client, 3) for client in ("a", "b")] == [2, 2]


async def test_a_refusal_states_when_to_retry() -> None:
    limited = alone("2/minute", clock := Clock())
    await taken(limited, "a", 2)
    with pytest.raises(CalledTooOften) as refusal:
        await limited.acquire("a")
    assert (refusal.value.reason, refusal.value.retry_after) == (Reason.RATE_LIMITED, 30)
    clock.now += refusal.value.retry_after
    assert await taken(limited, "a", 1) == 1


async def test_no_more_clients_are_remembered_than_memory_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_CLIENTS_MAX", 3)
    limited = alone("1/minute", Clock())
    for client in "abcd":
        await limited.acquire(client)
    assert (len(limited._allowances), len(limited._alone._buckets)) == (3, 3)
    assert "a" not in limited._allowances


@given(st.integers(1, 100_000))
def test_a_lot_divides_the_rate_and_is_a_twentieth_at_most(amount: int) -> None:
    lot = lot_of(amount)
    assert amount % lot == 0
    assert lot == 1 or lot <= amount / 20


def test_of_usual_rates_the_lot_is_a_twentieth() -> None:
    assert [lot_of(amount) for amount in (1, 10, 100, 200, 1000)] == [1, 1, 5, 10, 50]
