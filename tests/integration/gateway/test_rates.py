"""The rate limit of the public routes on a real Redis: shared by all gateways; while Redis is away each counts alone."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest
from limits import parse

from gateway.errors import CalledTooOften
from gateway.webhooks import rates
from gateway.webhooks.rates import ALONE, REDIS_FAILURES, Rates
from tests.failover import failing_over
from tests.gateways import SECRET, Wire
from tests.simulators import partner
from tests.simulators.stripe import Payment
from tests.waiting import LIMIT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp
    from prometheus_client import Counter

    from tests.gateways import Gateway, StartGateway
    from tests.servers import StartStack

CLIENTS: Final = (f"203.0.113.{n}" for n in itertools.count(1))
"""A fresh one for each test: Redis is shared by all of them."""


def through(wire: Wire) -> str:
    """Return the address through the proxy without the user, since Redis has none."""
    return wire.url.replace("None@", "")


def value_of(counter: Counter) -> float:
    return counter.collect()[0].samples[0].value


@asynccontextmanager
async def limited_by(rate: str, redis_url: str) -> AsyncIterator[Rates]:
    limited = Rates(parse(rate), redis_url)
    try:
        yield limited
    finally:
        await limited.close()


async def passes(limited: Rates, client: str) -> bool:
    if limited.spend(client):
        return True
    try:
        await limited.acquire(client)
    except CalledTooOften:
        return False
    return True


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for Redis: the machine is slow under tests, and no gateway should count alone for that reason."""
    monkeypatch.setattr(rates, "_PATIENCE", 5.0)


async def test_two_gateways_share_one_rate(redis_server: str) -> None:
    client, before = next(CLIENTS), value_of(ALONE)
    async with limited_by("40/hour", redis_server) as one, limited_by("40/hour", redis_server) as other:
        passed = [await passes(limited, client) for _ in range(40) for limited in (one, other)]
        assert passed == [True] * 40 + [False] * 40
        assert await passes(one, next(CLIENTS))
    assert value_of(ALONE) == before


async def test_a_burst_at_once_gets_its_rate_and_no_more(redis_server: str) -> None:
    client = next(CLIENTS)
    async with limited_by("100/hour", redis_server) as limited:
        passed = await asyncio.gather(*(passes(limited, client) for _ in range(300)))
    assert sum(passed) == 100


async def test_a_limited_client_causes_no_call_of_redis_until_there_may_be_room(redis_server: str) -> None:
    client = next(CLIENTS)
    async with limited_by("20/hour", redis_server) as limited:
        assert sum([await passes(limited, client) for _ in range(25)]) == 20
        asked: list[str] = []
        limited._draw = lambda *_: asked.append(client)  # type: ignore[method-assign,assignment,func-returns-value]
        assert not await passes(limited, client)
        with pytest.raises(CalledTooOften) as refusal:
            await limited.acquire(client)
    assert asked == []
    assert 1 <= refusal.value.retry_after <= 3600


async def test_with_redis_away_a_gateway_counts_alone_and_comes_back(redis_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_AWAY", 0.05)
    wire, client = Wire(redis_server), next(CLIENTS)
    await wire.open()
    async with limited_by("20/hour", through(wire)) as limited:
        assert await passes(limited, client)
        wire.cut()
        failures, before = value_of(REDIS_FAILURES), value_of(ALONE)
        assert sum([await passes(limited, client) for _ in range(30)]) == 20
        assert value_of(REDIS_FAILURES) > failures
        assert value_of(ALONE) == before + 30
        wire.mend()

        async def shared_again() -> bool | None:
            alone = value_of(ALONE)
            await passes(limited, next(CLIENTS))
            return True if value_of(ALONE) == alone else None

        assert await eventually(shared_again)
    await wire.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("of_a_partner", [False, True])
async def test_a_primary_that_became_a_replica_is_left(
    own_stack: StartStack, monkeypatch: pytest.MonkeyPatch, of_a_partner: bool
) -> None:
    monkeypatch.setattr(rates, "_AWAY", 0.05)

    async def shared() -> bool | None:
        alone = value_of(ALONE)
        assert await passes(limited, next(CLIENTS))
        return True if value_of(ALONE) == alone else None

    async with failing_over(own_stack) as (url, _, second, fail_over), limited_by("20/hour", url) as usual:
        limited = usual.with_rate(parse("40/hour")) if of_a_partner else usual
        assert await shared()
        await fail_over()
        assert not await shared()
        assert await eventually(shared, seconds=30)
        assert await second.keys("tallyhook:rate*")


async def test_a_silent_redis_is_not_waited_for(redis_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_PATIENCE", 0.005)
    wire = Wire(redis_server)
    await wire.open()
    async with limited_by("20/hour", through(wire)) as limited:
        wire.hold()
        before = value_of(ALONE)
        async with asyncio.timeout(LIMIT):
            assert await passes(limited, next(CLIENTS))
        assert value_of(ALONE) == before + 1
        wire.release()
    await wire.close()


async def test_a_client_over_the_rate_gets_429_and_another_does_not(start_gateway: StartGateway, redis_server: str) -> None:
    spammer, other = next(CLIENTS), next(CLIENTS)
    settings = {"RATE_LIMIT_WEBHOOKS": "3/hour", "REDIS_URL": redis_server, "TRUSTED_PROXIES": "127.0.0.0/8"}
    async with start_gateway(**settings) as gateway:
        answers = [await gateway.post(Payment().succeeded(), X_Forwarded_For=spammer) for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        problem = await answers[-1].json(content_type=None)
        assert (problem["reason"], answers[-1].content_type) == ("rate_limited", "application/problem+json")
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 3600
        assert (await gateway.post(Payment().succeeded(), X_Forwarded_For=other)).status == 200
        await gateway.resources.rejections.flush()
        assert len(await gateway.rows("webhook_deliveries")) == 4


async def test_an_untrusted_proxy_cannot_name_another_client(start_gateway: StartGateway) -> None:
    async with start_gateway(RATE_LIMIT_WEBHOOKS="1/hour") as gateway:
        answers = [await gateway.post(Payment().succeeded(), X_Forwarded_For=f"198.51.100.{n}") for n in range(2)]
        assert [answer.status for answer in answers] == [200, 429]


async def test_a_partner_is_counted_once_it_is_known_and_from_whatever_address(start_gateway: StartGateway) -> None:
    secrets = {"PARTNER_ACME_SECRET": "acme", "PARTNER_OTHER_SECRET": "other"}
    async with start_gateway(**secrets, RATE_LIMIT_PARTNERS="2/hour") as gateway:
        strangers = [await send_lead(gateway, "acme", secret="strange") for _ in range(3)]
        answers = [await send_lead(gateway, "acme") for _ in range(3)]
        assert await send_lead(gateway, "other") == 202
        await gateway.resources.rejections.flush()
        reasons = [row["reason"] for row in await gateway.rows("webhook_deliveries")]
    assert (strangers, answers) == ([401] * 3, [202, 202, 429])
    assert reasons.count("signature_wrong") == 3
    assert "rate_limited" not in reasons


async def send_lead(gateway: Gateway, name: str, secret: str = "") -> int:
    body = partner.lead(str(uuid4()), name)
    headers = {"X-Partner-Signature": partner.sign(body, secret or name, time.time()), "Content-Type": "application/json"}
    async with gateway.client.post(f"{gateway.public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer:
        return answer.status


async def test_the_configuration_changes_a_rate_and_gives_it_back(start_gateway: StartGateway) -> None:
    async def is_limited() -> int | None:
        return 429 if (await gateway.post(Payment().succeeded())).status == 429 else None

    async def is_free() -> int | None:
        return 200 if {(await gateway.post(Payment().succeeded())).status for _ in range(3)} == {200} else None

    async with start_gateway(RATE_LIMIT_WEBHOOKS="off") as gateway:
        assert await is_free()
        assert await change(gateway, "1/hour") == 200
        assert await eventually(is_limited) == 429
        for nonsense in ("as often as you like", "99999999999999999999/second", "0/second"):
            assert await change(gateway, nonsense) == 422
            await gateway.overwrite_config("rate_limit.webhooks", json.dumps(nonsense))
            assert await eventually(is_limited) == 429
        assert await change(gateway, None) == 200
        assert await eventually(is_free) == 200


async def change(gateway: Gateway, rate: str | None) -> int:
    return (await gateway.ask("/internal/v1/config", {"key": "rate_limit.webhooks", "value": rate})).status


async def test_health_is_never_limited_and_off_is_off(start_gateway: StartGateway) -> None:
    async with start_gateway(RATE_LIMIT_WEBHOOKS="1/hour") as gateway:
        await gateway.post(Payment().succeeded())
        assert [await status_of(gateway, "/health/live") for _ in range(3)] == [200] * 3
    async with start_gateway(RATE_LIMIT_WEBHOOKS="off") as gateway:
        assert {(await gateway.post(Payment().succeeded(), secret=SECRET)).status for _ in range(20)} == {200}


async def status_of(gateway: Gateway, path: str) -> int:
    answer: aiohttp.ClientResponse
    async with gateway.client.get(gateway.public + path) as answer:
        return answer.status
