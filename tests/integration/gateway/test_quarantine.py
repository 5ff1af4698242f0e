"""Deliveries of strangers cannot displace a real event that was refused."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.integration.operations.webhook_replaying import taken_up
from tests.simulators.stripe import Payment, sign

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.gateways import Gateway, StartGateway

ROOM: Final = 10
OPEN: Final = {"REJECTED_KEPT_PER_HOUR": str(ROOM), "TRUSTED_PROXIES": "127.0.0.0/8", "RATE_LIMIT_WEBHOOKS": "off"}
ROTATED: Final = "whsec_rotated"
V4: Final = [f"203.0.113.{n}" for n in range(40)]
V6: Final = [f"2001:db8:7:7::{n:x}" for n in range(40)]
NETWORKS: Final = [f"2001:db8:7:{n:x}::1" for n in range(40)]

EVENTS: Final = [Payment().succeeded() for _ in range(40)]
JUNK: Final = [b"{}"] * 40


async def flood(gateways: list[Gateway], addresses: Iterable[str], bodies: Iterable[bytes], header: str | None) -> None:
    for n, (address, body) in enumerate(zip(addresses, bodies, strict=True)):
        headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
        signature = {} if header is None else {"Stripe-Signature": header.format(now=int(time.time()))}
        assert (await gateways[n % 2].send(body, headers | signature)).status in {400, 401}


FLOODS: Final[dict[str, Any]] = {
    "unsigned": (V4, JUNK, None),
    "unsigned events": (V4, EVENTS, None),
    "a header that is none": (V4, EVENTS, "hello"),
    "signed junk from many addresses": (V4, JUNK, "t={now},v1=" + "0" * 64),
    "events from one address": (V4[:1] * 40, EVENTS, "t={now},v1=" + "0" * 64),
    "events from one /64": (V6, EVENTS, "t={now},v1=" + "0" * 64),
    "events from one /48": (NETWORKS, EVENTS, "t={now},v1=" + "0" * 64),
}


@pytest.mark.parametrize("how", FLOODS)
async def test_a_real_event_that_comes_after_a_flood_is_kept_and_recovered(start_gateway: StartGateway, how: str) -> None:
    addresses, bodies, header = FLOODS[how]
    real = Payment().succeeded()
    async with AsyncExitStack() as exits:
        gateways = [await exits.enter_async_context(start_gateway(**OPEN)) for _ in range(2)]
        await flood(gateways, addresses, bodies, header)
        for gateway in gateways:
            await gateway.resources.rejections.flush()
        headers = {"Content-Type": "application/json", "X-Forwarded-For": "198.51.100.7"}
        answer = await gateways[0].send(real, headers | {"Stripe-Signature": sign(real, ROTATED, time.time())})
        assert answer.status == 401
        await gateways[0].resources.rejections.flush()
        kept = await gateways[0].rows("webhook_deliveries where outcome = 'rejected'")
        assert [row["client"] for row in kept if row["body"] == real] == ["198.51.100.7"]
        assert len(kept) == (1 if header in {None, "hello"} else ROOM)
        quotas = await gateways[0].rows("rejected_quota")
        assert sum(row["kept"] for row in quotas) == len(kept) == len(await gateways[0].rows("rejected_kept"))
        assert sum(row["kept"] + row["refused"] for row in quotas) == len(bodies) + 1
        ledger = await (await gateways[0].get("/v1/admin/ledger?from=2026-01-01&to=9999-12-31T00:00:00Z")).json()
        source = next(source for source in ledger["sources"] if source["source"] == "stripe")
        assert (ledger["balanced"], source["received"], source["rejected"]) == (True, len(kept), len(kept))
        assert sum(each["rejected"] for each in ledger["rejectedNotKept"]) == len(bodies) + 1 - len(kept)
    async with start_gateway(**OPEN, STRIPE_WEBHOOK_SECRET=ROTATED) as gateway:
        await taken_up(gateway, source="stripe", status="rejected")
        assert [bytes(row["data"]) for row in await gateway.rows("outbox where topic = 'webhooks.stripe'")] == [real]


async def test_a_recovered_delivery_is_not_displaced(start_gateway: StartGateway) -> None:
    async with start_gateway(**OPEN, STRIPE_WEBHOOK_SECRET=ROTATED) as gateway:
        await flood([gateway] * 2, V4[:1] * ROOM, EVENTS[:ROOM], "t={now},v1=" + "0" * 64)
        await gateway.resources.rejections.flush()
        recovered = (await gateway.rows("webhook_deliveries"))[-1]["id"]
        async with gateway.resources.commands.connection() as connection:
            await connection.execute("update webhook_deliveries set recovered_as = id where id = %s", (recovered,))
        await flood([gateway] * 2, V4[1 : ROOM + 1], EVENTS[:ROOM], "t={now},v1=" + "0" * 64)
        await gateway.resources.rejections.flush()
        kept = await gateway.rows("webhook_deliveries")
    assert len(kept) == ROOM
    assert recovered in {row["id"] for row in kept}
    assert len({row["client"] for row in kept}) == ROOM - 1


async def test_a_delivery_signed_by_a_live_secret_is_worth_most(start_gateway: StartGateway) -> None:
    async with start_gateway(**OPEN) as gateway:
        await flood([gateway] * 2, V4[:ROOM], EVENTS[:ROOM], "t={now},v1=" + "0" * 64)
        await gateway.resources.rejections.flush()
        assert (await gateway.post(b'{"no": "event"}')).status == 400
        await gateway.resources.rejections.flush()
        kept = await gateway.rows("webhook_deliveries")
    assert sorted({row["reason"] for row in kept}) == ["event_malformed", "signature_wrong"]
    assert len(kept) == ROOM
