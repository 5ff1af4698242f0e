"""Clients that send requests while processes are frozen, and a check which requests are done."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from tests.sender import post_stripe
from tests.simulators import partner, stripe
from tests.system import SERVICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import aiohttp

    from tests.system import Doors, System

EVERY: Final = 0.25
UNDER_WAY: Final = 10
"""How many effects a frozen process may have made without storing them yet."""
DONE: Final = """
select 'payment ' || id from payments where status = 'succeeded' union all
select 'lead ' || id from leads where status = 'delivered'
"""
OPEN: Final = "tasks where status <> 'done'"


class Served:
    """The requests that were sent."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def ask(self, name: str) -> None:
        self.asked.add(name)

    def is_done(self, system: System) -> bool:
        """Report whether all of it is done, and every command too."""
        return self.asked <= {name for (name,) in system.query(DONE)} and not system.count(OPEN)

    def number(self, kind: str) -> int:
        return sum(name.startswith(f"{kind} ") for name in self.asked)


class Client:
    """Clients of every kind, at one gateway."""

    def __init__(
        self, http: aiohttp.ClientSession, doors: Doors, served: Served, partners: Sequence[str] = ("acme", "other")
    ) -> None:
        self._http = http
        self.doors = doors
        self._served = served
        self._partners = partners
        self._number = 0

    async def ask(self) -> None:
        """Send one request of each kind."""
        number = self._number = self._number + 1
        life = stripe.Payment(metadata={"user_id": f"u-{number}"})
        assert (await post_stripe(self._http, self.doors.public, life.succeeded(int(time.time())))).status == 200
        self._served.ask(f"payment {life.id}")
        await self.lead()
        data = {"providerPaymentId": f"pi_{number}", "amount": number, "currency": "eur"}
        to = f"user{number}@example.com"
        await self._command("notifications/send", to=to, channel="EMAIL", template="payment-succeeded", data=data)
        await self._command("cache/invalidate", keys=[f"k{number}"])
        await self._command("search/index", index="properties", id=f"p{number}", op="upsert", doc={"n": number})

    async def lead(self) -> None:
        number = self._number = self._number + 1
        name = self._partners[number % len(self._partners)]
        body = partner.lead(f"{number}", name)
        signed = {"Content-Type": "application/json", "X-Partner-Signature": partner.sign(body, f"{name}-secret", time.time())}
        async with self._http.post(f"{self.doors.public}/v1/webhooks/partner/leads", data=body, headers=signed) as answer:
            assert answer.status == 202, await answer.text()
            self._served.ask(f"lead {(await answer.json())['id']}")

    async def _command(self, path: str, **body: Any) -> None:
        async with self._http.post(f"{self.doors.internal}/internal/v1/{path}", json=body, headers=SERVICE) as answer:
            assert answer.status in (200, 202), await answer.text()


async def load(ask: Callable[[], Awaitable[None]], times: int) -> None:
    """Call `ask` this number of times, a few times a second."""
    for _ in range(times):
        await asyncio.gather(ask(), asyncio.sleep(EVERY))
