"""A provider and a partner that send at an even pace until the test ends them; each acknowledged event must exist once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from tests.faults.accounting import assert_ledger
from tests.faults.waits import UNDER_WAY
from tests.kafka import read_topic
from tests.sender import post_stripe
from tests.simulators import partner, stripe
from tests.system import STRIPE_SECRET
from tests.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.kafka import Stored
    from tests.simulators.crm import Crm
    from tests.system import System

EVERY: Final = 0.1  # seconds between two payments
PARTNER: Final = "acme"
TAKEN: Final = (200, 202)


class Crowd:
    """
    Clients of the gateways at `doors`, in turn; each event is sent again, to the next gateway, until it is acknowledged.

    Every payment is created and succeeds, each fourth one is refunded, each tenth one succeeds twice; and a lead comes with it.
    """

    def __init__(self, doors: Sequence[str], crm: Crm, clock: Callable[[], float] = time.time) -> None:
        self.doors = doors
        self._crm = crm
        self._clock = clock
        self._still = False
        self._under_way = 0
        self.sending: asyncio.Task[None] | None = None
        self._turn = 0
        self._ended = asyncio.Event()
        self.payments: list[stripe.Payment] = []
        self.refunded: set[str] = set()
        self.acknowledged = Counter[str]()
        self.answers = Counter[str]()
        """The number of attempts by status or by name of the error."""
        self.longest = Counter[str]()
        """The longest time without an acknowledgement, and without a lead at the CRM, in seconds."""

    @property
    def events(self) -> int:
        """Distinct events of the provider."""
        return 2 * len(self.payments) + len(self.refunded)

    async def run(self) -> None:
        """Send until `end` is called and everything is acknowledged."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http, asyncio.TaskGroup() as tasks:
            silences = [
                tasks.create_task(self._listen("acknowledgement", self.acknowledged.total)),
                tasks.create_task(self._listen("delivery", lambda: len(self._crm.taken))),
            ]
            while not self._ended.is_set():
                if not self._still:
                    tasks.create_task(self._live(http))
                await asyncio.wait(silences, timeout=EVERY)

    def end(self) -> None:
        self._ended.set()

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Pause all senders during the block."""
        self._still = True
        await self._until(lambda: self._under_way == 0)
        yield
        self._still = False

    async def delivered(self, more: int) -> None:
        """Return once the CRM has that many leads sent after this call: all parts before it work again."""
        first = len(self.payments)
        await self._until(lambda: sum(int(taken.data["externalLeadId"]) > first for taken in self._crm.taken) >= more)

    async def acknowledge(self, more: int) -> None:
        """Return once that many more events have been acknowledged."""
        enough = self.acknowledged.total() + more
        await self._until(lambda: self.acknowledged.total() >= enough)

    async def refuse(self, more: int) -> None:
        """Return once that many more attempts were answered with 503."""
        enough = self.answers["503"] + more
        await self._until(lambda: self.answers["503"] >= enough)

    async def _until(self, fact: Callable[[], bool]) -> None:
        async def look() -> bool | None:
            if self.sending is not None and self.sending.done():
                self.sending.result()
            return fact() or None

        await eventually(look)

    async def _live(self, http: aiohttp.ClientSession) -> None:
        number, now = len(self.payments) + 1, int(self._clock())
        life = stripe.Payment(metadata={"user_id": f"u-{number}"})
        self.payments.append(life)
        bodies = [life.created(now), life.succeeded(now + 1)]
        if number % 10 == 0:
            bodies.append(bodies[-1])
        if number % 4 == 0:
            self.refunded.add(life.id)
            bodies.append(life.refunded(life.amount, now + 2))
        await asyncio.gather(*(self._deliver(http, body) for body in bodies), self._deliver_lead(http, number))

    async def _deliver(self, http: aiohttp.ClientSession, body: bytes) -> None:
        async def attempt(door: str) -> int:
            signature = {"Stripe-Signature": stripe.sign(body, STRIPE_SECRET, self._clock())}
            return (await post_stripe(http, door, body, **signature)).status

        await self._until_taken("stripe", attempt)

    async def _deliver_lead(self, http: aiohttp.ClientSession, number: int) -> None:
        body = partner.lead(f"{number}", PARTNER)

        async def attempt(door: str) -> int:
            signed = {
                "Content-Type": "application/json",
                "X-Partner-Signature": partner.sign(body, f"{PARTNER}-secret", self._clock()),
            }
            async with http.post(f"{door}/v1/webhooks/partner/leads", data=body, headers=signed) as answer:
                await answer.read()
                return answer.status

        await self._until_taken("partner", attempt)

    async def _until_taken(self, source: str, attempt: Callable[[str], Awaitable[int]]) -> None:
        self._under_way += 1
        while True:
            self._turn += 1
            try:
                status = await attempt(self.doors[self._turn % len(self.doors)])
            except (aiohttp.ClientError, TimeoutError) as error:
                self.answers[type(error).__name__] += 1
            else:
                self.answers[str(status)] += 1
                assert status in (*TAKEN, 503), status
                if status in TAKEN:
                    self.acknowledged[source] += 1
                    self._under_way -= 1
                    return
            await asyncio.sleep(0.05)  # as clients that retry do

    async def _listen(self, what: str, count: Callable[[], int]) -> None:
        last, since = count(), time.monotonic()
        while not self._ended.is_set():
            await asyncio.sleep(0.02)
            if (now := count()) != last:
                self.longest[what] = max(self.longest[what], time.monotonic() - since)
                last, since = now, time.monotonic()


@asynccontextmanager
async def sending(crm: Crm, *doors: str, clock: Callable[[], float] = time.time) -> AsyncIterator[Crowd]:
    """A crowd that sends while the block runs; on leaving it, everything is acknowledged."""
    crowd = Crowd(doors, crm, clock)
    crowd.sending = asyncio.create_task(crowd.run())
    try:
        yield crowd
    finally:
        crowd.end()
        await crowd.sending
    longest = ", ".join(f"{seconds:.1f} s without any {what}" for what, seconds in crowd.longest.items())
    print(f"{len(crowd.payments)} payments and leads; the longest: {longest}; answers: {dict(crowd.answers)}")  # noqa: T201  # for the reader of the run


def assert_each_once(system: System, crowd: Crowd, crm: Crm, **books: Any) -> None:
    """
    Wait for the last effect, then compare every count; a difference in either direction fails.

    `books` are the arguments of `assert_ledger`.
    """
    number, refunds, leads = len(crowd.payments), len(crowd.refunded), len(crowd.payments)
    wait_until(lambda: system.count("consumed where consumer = 'payments'") >= crowd.events)
    wait_until(lambda: system.count("leads where status = 'delivered'") >= leads)
    wait_until(lambda: system.count("outbox_pending") == 0)
    assert system.count("dead_letters") == 0
    assert system.count("dedup") == crowd.events + leads
    assert system.count("history where aggregate_id in (select id from payments)") == crowd.events
    assert dict(system.query("select status, count(*) from payments group by 1")) == {
        "succeeded": number - refunds,
        "refunded": refunds,
    }
    assert not system.query("select id from payments where version <> (select count(*) from history where aggregate_id = id)")
    written = dict(
        system.query("select type, count(*) from outbox where topic like 'billing.%%' or type like 'lead.%%' group by 1")
    )
    assert written["billing.payment.succeeded"] == number, written
    assert written["billing.payment.refunded"] == refunds, written
    assert written["lead.delivered"] == leads, written
    assert "lead.delivery.failed" not in written
    assert_ledger(system, stripe=crowd.events, partner=leads, **books)
    came = Counter(taken.message_id for taken in crm.taken)
    assert len(came) == leads
    assert came.total() - leads <= UNDER_WAY  # under one message id, so that the CRM recognizes them
    emitted = read_topic(system.cluster, "billing.payment.events", until=lambda found: len(_ids(found)) >= number + refunds)
    assert len(_ids(emitted)) == number + refunds


def _ids(found: Sequence[Stored]) -> set[str]:
    return {each.headers["ce_id"] for each in found}
