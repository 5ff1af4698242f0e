"""Everybody who asks for something while processes fall silent, and how long each of them waits for it."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from tests.sender import post_stripe
from tests.simulators import partner, stripe
from tests.system import SERVICE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import aiohttp

    from tests.system import Doors, System

EVERY: Final = 0.25
LONGEST: Final = 35.0  # seconds that any of them may wait; far below the time for which processes are silent
UNDER_WAY: Final = 10
"""What those that fall silent may have had under way: done, and not yet written down."""
DONE: Final = """
select 'payment ' || id from payments where status = 'succeeded' union all
select 'lead ' || id from leads where status = 'delivered' union all
select 'replayed ' || n from webhook_replay_items where state = 'unchanged'
"""
OPEN: Final = "tasks where status <> 'done'"


class Served:
    """When each thing was asked for, and when it was first seen done, in seconds of one clock."""

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}
        self.done: dict[str, float] = {}

    def ask(self, name: str) -> None:
        self.asked[name] = time.monotonic()

    def look(self, system: System) -> bool:
        """Whether all is done."""
        now = time.monotonic()
        for (name,) in system.query(DONE):
            self.done.setdefault(name, now)
        return self.asked.keys() <= self.done.keys() and not system.count(OPEN)

    def longest(self, system: System) -> dict[str, float]:
        """The longest wait of each kind; that of a replay is between two of its items."""
        found: dict[str, float] = {}
        for name, at in self.asked.items():
            kind = name.partition(" ")[0]
            found[kind] = max(found.get(kind, 0.0), self.done[name] - at)
        replayed = sorted(at for name, at in self.done.items() if name.startswith("replayed"))
        found["replayed"] = max((after - before for before, after in pairwise(replayed)), default=0.0)
        slowest = "select kind, extract(epoch from max(settled_at - created_at))::float8 from tasks group by kind"
        return found | dict(system.query(slowest))

    def number(self, kind: str) -> int:
        return sum(name.startswith(f"{kind} ") for name in self.asked)


class Client:
    """Everybody who asks for something, by one gateway."""

    def __init__(
        self, http: aiohttp.ClientSession, doors: Doors, served: Served, partners: Sequence[str] = ("acme", "other")
    ) -> None:
        self._http = http
        self._doors = doors
        self._served = served
        self._partners = partners
        self._number = 0

    async def ask(self) -> None:
        """One of each."""
        number = self._number = self._number + 1
        life = stripe.Payment(metadata={"user_id": f"u-{number}"})
        assert (await post_stripe(self._http, self._doors.public, life.succeeded(int(time.time())))).status == 200
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
        async with self._http.post(f"{self._doors.public}/v1/webhooks/partner/leads", data=body, headers=signed) as answer:
            assert answer.status == 202, await answer.text()
            self._served.ask(f"lead {(await answer.json())['id']}")

    async def _command(self, path: str, **body: Any) -> None:
        async with self._http.post(f"{self._doors.internal}/internal/v1/{path}", json=body, headers=SERVICE) as answer:
            assert answer.status in (200, 202), await answer.text()


async def load(ask: Callable[[], Awaitable[None]], system: System, served: Served, seconds: float) -> None:
    """Ask again and again for so long, and look meanwhile what is done."""
    until = time.monotonic() + seconds
    while (rest := until - time.monotonic()) > 0:
        await asyncio.gather(ask(), asyncio.to_thread(served.look, system), asyncio.sleep(min(EVERY, rest)))
