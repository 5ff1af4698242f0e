"""
The breakers of the CRMs that this worker delivers to.

They are shown to operators, taken over from the worker that delivered before, and probed on request. An open breaker lets a
probe through after LEAD_PROBE_MAX at the latest: if no lead is due then, the next one is pulled forward. Such a probe costs its
lead nothing: if it fails, the lead is due when it would have been. Once a CRM is back, the leads that wait for it are made due
at once.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from streams.leads import breaker_store
from streams.leads.breaker_store import BreakerState
from streams.leads.decisions import Answer
from streams.retry_after import FAR

State = Literal["closed", "open", "half_open"]


class Breaker:
    """The breaker of one CRM; times are seconds of any clock that never goes back."""

    def __init__(self, *, threshold: int, cooldown: timedelta, longest: timedelta) -> None:
        self._threshold = threshold
        self._cooldown = cooldown.total_seconds()
        self._longest = longest.total_seconds()
        self._trips = 0
        self.failures = 0
        """The failed attempts in a row."""
        self.open_until: float | None = None

    def state(self, now: float) -> State:
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def room(self, now: float, under_way: int, cap: int) -> int:
        """Return how many more attempts may begin: none while open, a single probe when half open."""
        allowed = {"closed": cap, "open": 0, "half_open": 1}[self.state(now)]
        return max(0, allowed - under_way)

    def note(self, now: float, *, healthy: bool) -> None:
        """Count an attempt. One that fails while the breaker is open began before, and changes nothing."""
        if healthy:
            self.close()
        elif (state := self.state(now)) != "open":
            self.failures += 1
            if state == "half_open" or self.failures >= self._threshold:
                self.open_until = now + min(self._longest, self._cooldown * 2.0 ** min(self._trips, 30))
                self._trips += 1

    def close(self) -> None:
        """Let all attempts through."""
        self.failures = self._trips = 0
        self.open_until = None

    def probe(self, now: float) -> None:
        """Let one attempt through now, even if the breaker would stay open longer."""
        if self.open_until is not None:
            self.open_until = min(self.open_until, now)

    def reopen(self, now: float, failures: int) -> None:
        """Continue from the state that another process stored: one attempt is let through now, and its result decides."""
        self.failures, self._trips, self.open_until = failures, 1, now


log = structlog.get_logger()

_REFRESH_EVERY: Final = 1.0  # seconds between two reads of the requests for probes


class Breakers:
    """One breaker per partner, created on first use; `now` returns the time by which leads are due."""

    def __init__(self, make: Callable[[], Breaker], now: Callable[[], datetime]) -> None:
        self._now = now
        self._breakers: defaultdict[str, Breaker] = defaultdict(make)
        self._held: dict[str, datetime] = {}
        self._taken_over: set[str] = set()
        self._probes_requested: set[str] = set()
        self._unrecorded: dict[str, str | None] = {}
        self._back_since: dict[str, datetime] = {}
        self._pulled: dict[UUID, datetime] = {}
        self._refresh_at = 0.0

    def room(self, partner: str, busy: int, cap: int) -> int:
        """Return how many more attempts to the partner may begin."""
        return 0 if self._is_held(partner) else self._breakers[partner].room(time.monotonic(), busy, cap)

    def is_blocked(self, partner: str) -> bool:
        return self._breakers[partner].state(time.monotonic()) != "closed" or self._is_held(partner)

    def _is_held(self, partner: str) -> bool:
        """Return whether its CRM has requested a pause (`Retry-After`): its other leads wait too, and no attempt is used up."""
        return self._pause(self._held.get(partner)) > timedelta()

    def _pause(self, until: datetime | None) -> timedelta:
        """Return how long a requested pause still lasts; one that seems too long was requested while the clock was ahead."""
        left = until - self._now() if until else timedelta()
        return left if left <= FAR else timedelta()

    def forget(self, partner: str) -> None:
        """Forget the state of its CRM: another worker observes it now, or the partner is gone."""
        self._breakers.pop(partner, None)
        self._taken_over.discard(partner)
        self._probes_requested.discard(partner)
        self._unrecorded.pop(partner, None)
        self._held.pop(partner, None)

    def observe(self, partner: str, answer: Answer) -> None:
        """Update the partner's breaker with the answer of an attempt."""
        breaker, moment = self._breakers[partner], time.monotonic()
        was_closed = breaker.state(moment) == "closed"
        breaker.note(moment, healthy=answer.healthy)
        is_closed = breaker.state(moment) == "closed"
        if not (was_closed and is_closed) or partner in self._probes_requested:
            self._unrecorded[partner] = None if answer.healthy else answer.error or f"http_{answer.status}"
            self._probes_requested.discard(partner)
        if is_closed and not was_closed:
            log.info("breaker_closed", partner=partner)
            self._back_since[partner] = self._now()
        elif was_closed and not is_closed:
            log.warning("breaker_opened", reason="breaker_open", partner=partner, failures=breaker.failures, error=answer.error)
        if answer.requested_pause:
            longest = max(answer.requested_pause, self._pause(self._held.get(partner)))
            self._held[partner] = self._now() + longest

    def due_of(self, lead_id: UUID) -> datetime | None:
        """Return when the lead of an attempt that has ended would have been due; None where it was not pulled forward."""
        return self._pulled.pop(lead_id, None)

    def next_try(self, partners: Iterable[str]) -> float | None:
        """Return the seconds until the next blocked CRM of these partners may be tried, or None if none has yet to wait."""
        moment = time.monotonic()
        known = {*partners}
        waits = [self._pause(until).total_seconds() for partner, until in self._held.items() if partner in known]
        opened = (breaker.open_until for partner, breaker in self._breakers.items() if partner in known)
        waits += [until - moment for until in opened if until is not None]
        return min((seconds for seconds in waits if seconds > 0), default=None)

    async def refresh(self, connection: AsyncConnection, mine: Collection[str], *, at_rest: bool) -> None:
        """
        Take over the breakers of partners that have become this worker's, and read which probes operators have requested.

        Requests are read in every round while no attempt is under way, and once a second otherwise; a request starts a round.
        """
        if fresh := {*mine} - self._taken_over:
            for partner, failures in (await breaker_store.read_open(connection, fresh)).items():
                self._breakers[partner].reopen(time.monotonic(), failures)
            self._taken_over |= fresh
        if at_rest or time.monotonic() >= self._refresh_at:
            self._refresh_at = time.monotonic() + _REFRESH_EVERY
            for partner in await breaker_store.read_probe_requests(connection, mine):
                self._breakers[partner].probe(time.monotonic())
                self._held.pop(partner, None)
                self._probes_requested.add(partner)

    async def pull(self, connection: AsyncConnection, idle: Iterable[str]) -> bool:
        """
        Make the next lead due for each partner whose CRM is to be probed; return whether there was such a lead.

        `idle` are the partners to which attempts may begin while none is under way: their due leads are claimed already.
        """
        before = len(self._pulled)
        for partner in idle:
            breaker = self._breakers[partner]
            if partner in self._probes_requested or breaker.state(time.monotonic()) == "half_open":
                if pulled := await breaker_store.pull(connection, partner, self._now()):
                    self._pulled[pulled[0]] = pulled[1]
                elif partner in self._probes_requested:  # no lead waits for it: the next one is the probe
                    breaker.close()
                    self._probes_requested.discard(partner)
                    self._unrecorded[partner] = None
        return len(self._pulled) > before

    async def record(self, connection: AsyncConnection) -> bool:
        """
        Store the breakers that have changed, and make leads due that wait for a CRM that is back.

        Returns whether a CRM is back.
        """
        back = bool(self._back_since)
        for partner, error in [*self._unrecorded.items()]:
            breaker, now = self._breakers[partner], self._now()
            probe_at = breaker_store.probe_time(breaker.open_until, time.monotonic(), now)
            await breaker_store.write(connection, BreakerState(partner, probe_at, breaker.failures, error, now))
            self._unrecorded.pop(partner, None)
        for partner, since in [*self._back_since.items()]:
            if not await breaker_store.make_due(connection, partner, since, self._now()):
                del self._back_since[partner]
        return back
