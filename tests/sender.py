"""Sends signed events as a provider does: each is repeated until it is acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp

from tests.simulators import razorpay, stripe
from tests.system import RAZORPAY_SECRET, STRIPE_SECRET

if TYPE_CHECKING:
    from collections.abc import Iterable


async def post_stripe(
    http: aiohttp.ClientSession, public: str, body: bytes, *, secret: str = STRIPE_SECRET, **headers: str
) -> aiohttp.ClientResponse:
    """One delivery; the answer's body is read."""
    signed = {"Content-Type": "application/json", "Stripe-Signature": stripe.sign(body, secret, time.time()), **headers}
    async with http.post(f"{public}/v1/webhooks/stripe", data=body, headers=signed) as answer:
        await answer.read()
        return answer


async def post_razorpay(
    http: aiohttp.ClientSession, public: str, body: bytes, *, secret: str = RAZORPAY_SECRET, event_id: str = "", **headers: str
) -> aiohttp.ClientResponse:
    """One delivery, under a fresh id unless one is given; the answer's body is read."""
    signed = {
        "Content-Type": "application/json",
        "X-Razorpay-Signature": razorpay.sign(body, secret),
        "X-Razorpay-Event-Id": event_id or razorpay.random_id(""),
        **headers,
    }
    async with http.post(f"{public}/v1/webhooks/razorpay", data=body, headers=signed) as answer:
        await answer.read()
        return answer


class Provider:
    """A provider that redelivers every event until it gets a 200; counts the answers."""

    def __init__(self, public: str, *, lanes: int = 16) -> None:
        self._public = public
        self._lanes = lanes
        self.acknowledged = 0
        self.answers: Counter[str] = Counter()
        self._progress = asyncio.Condition()

    async def deliver(self, bodies: Iterable[bytes]) -> None:
        waiting = iter(bodies)
        limits = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=limits) as http:
            await asyncio.gather(*(self._lane(http, waiting) for _ in range(self._lanes)))

    async def reached(self, number: int) -> None:
        """Return once that many events have been acknowledged."""
        async with self._progress:
            await self._progress.wait_for(lambda: self.acknowledged >= number)

    async def _lane(self, http: aiohttp.ClientSession, waiting: Iterable[bytes]) -> None:
        for body in waiting:
            while not await self._acknowledged(http, body):  # noqa: ASYNC110  # a provider waits before it delivers again
                await asyncio.sleep(0.05)
            self.acknowledged += 1
            async with self._progress:
                self._progress.notify_all()

    async def _acknowledged(self, http: aiohttp.ClientSession, body: bytes) -> bool:
        try:
            answer = await post_stripe(http, self._public, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.answers[type(error).__name__] += 1
            return False
        self.answers[str(answer.status)] += 1
        assert answer.status in (200, 503), f"{answer.status}: {await answer.text()}"
        return answer.status == 200
