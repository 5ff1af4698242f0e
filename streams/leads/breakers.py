"""
The breakers of the CRMs that this worker delivers to: shown to all, taken over from who delivered before, tried by hand.

A CRM that is left alone is tried again after LEAD_PROBE_MAX at the latest, whenever its leads are due: where none is, the next is
pulled forward. Such a probe costs its lead nothing: where it fails the lead is due when it would have been. Once a CRM is back
the leads that wait for it need not sit out their pauses.
"""

import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from streams.leads import standing
from streams.leads.breaker import Breaker
from streams.leads.decisions import Answer
from streams.leads.standing import Seen

log = structlog.get_logger()

_LOOK_EVERY: Final = 1.0  # seconds between two looks for probes that are asked for


class Breakers:
    """One breaker a partner; `now` gives the time that leads go by."""

    def __init__(self, partners: Iterable[str], make: Callable[[], Breaker], now: Callable[[], datetime]) -> None:
        self._make = make
        self._now = now
        self._breakers = {key: make() for key in partners}
        self._held: dict[str, datetime] = {}
        self._taken_over: set[str] = set()
        self._asked: set[str] = set()
        self._untold: dict[str, str | None] = {}
        self._back_since: dict[str, datetime] = {}
        self._pulled: dict[UUID, datetime] = {}
        self._look_at = 0.0

    def room(self, partner: str, busy: int, cap: int) -> int:
        """How many more attempts to the partner may begin."""
        return 0 if self._is_held(partner) else self._breakers[partner].room(time.monotonic(), busy, cap)

    def is_left_alone(self, partner: str) -> bool:
        return self._breakers[partner].state(time.monotonic()) != "closed" or self._is_held(partner)

    def _is_held(self, partner: str) -> bool:
        """While its CRM has asked for patience (`Retry-After`), its other leads wait too, and no attempt is used up."""
        return partner in self._held and self._now() < self._held[partner]

    def forget(self, partner: str) -> None:
        """What was seen of its CRM: another worker sees it now."""
        self._breakers[partner] = self._make()
        self._taken_over.discard(partner)
        self._asked.discard(partner)
        self._untold.pop(partner, None)
        self._held.pop(partner, None)

    def observe(self, partner: str, answer: Answer) -> None:
        """Take in what an attempt says about the partner's CRM."""
        breaker, moment = self._breakers[partner], time.monotonic()
        was_closed = breaker.state(moment) == "closed"
        breaker.note(moment, healthy=answer.healthy)
        is_closed = breaker.state(moment) == "closed"
        if not (was_closed and is_closed) or partner in self._asked:
            self._untold[partner] = None if answer.healthy else answer.error or f"http_{answer.status}"
            self._asked.discard(partner)
        if is_closed and not was_closed:
            log.info("breaker_closed", partner=partner)
            self._back_since[partner] = self._now()
        elif was_closed and not is_closed:
            log.warning("breaker_opened", reason="breaker_open", partner=partner, failures=breaker.failures, error=answer.error)
        if answer.hold:
            until = self._now() + answer.hold
            self._held[partner] = max(until, self._held.get(partner, until))

    def due_of(self, lead_id: UUID) -> datetime | None:
        """When the lead of an attempt that has ended would have been due, where it was pulled forward."""
        return self._pulled.pop(lead_id, None)

    async def look(self, connection: AsyncConnection, mine: Collection[str]) -> None:
        """Go on from what is known of CRMs that have become this worker's, and hear of probes that are asked for."""
        if fresh := {*mine} - self._taken_over:
            for partner, failures in (await standing.read_open(connection, fresh)).items():
                self._breakers[partner].reopen(time.monotonic(), failures)
            self._taken_over |= fresh
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_EVERY
            for partner in await standing.read_asked(connection, mine):
                self._breakers[partner].probe(time.monotonic())
                self._held.pop(partner, None)
                self._asked.add(partner)

    async def pull(self, connection: AsyncConnection, idle: Iterable[str]) -> None:
        """Make a lead due for each partner that is to be tried and of which nothing is; `idle` are those that could be tried."""
        for partner in idle:
            breaker = self._breakers[partner]
            if partner in self._asked or breaker.state(time.monotonic()) == "half_open":
                if pulled := await standing.pull(connection, partner, self._now()):
                    self._pulled[pulled[0]] = pulled[1]
                elif partner in self._asked:  # there is nothing to try it with: the next lead does
                    breaker.close()
                    self._asked.discard(partner)
                    self._untold[partner] = None

    async def tell(self, connection: AsyncConnection) -> None:
        """Write down what has changed, and let go what waits for a CRM that is back."""
        for partner, error in [*self._untold.items()]:
            breaker, now = self._breakers[partner], self._now()
            probe_at = standing.probe_time(breaker.open_until, time.monotonic(), now)
            await standing.tell(connection, Seen(partner, probe_at, breaker.failures, error, now))
            self._untold.pop(partner, None)
        for partner, since in [*self._back_since.items()]:
            if not await standing.hasten(connection, partner, since, self._now()):
                del self._back_since[partner]
