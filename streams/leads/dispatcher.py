"""
Delivers leads that are due, beside the handler.

Attempts of all partners run side by side in one event loop, each partner within its own cap and behind its own breaker, so a slow
or dead CRM delays no other partner. `role.Ownership` decides which partners are this worker's.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import prometheus_client
import structlog
from psycopg import AsyncConnection

from projections.config_view import Config
from runtime import tracing
from runtime.database import Pool
from runtime.excerpts import described
from runtime.heartbeat import Heartbeat, now
from runtime.service import Hold
from runtime.sessions import DEFAULT_LEASE
from runtime.tracing import continue_trace, span_id_of, trace_id_of
from schemas.partners import Partner
from streams.due import DueSender, SenderNames
from streams.leads import delivery_store
from streams.leads.breakers import Breaker, Breakers
from streams.leads.crm import UNSENT, Crm
from streams.leads.decisions import (
    ATTEMPT_FAILED,
    INTERRUPTED,
    Answer,
    Decision,
    Exhausted,
    Policy,
    RetryAt,
    decide,
    fallback_decision,
    given_up,
)
from streams.leads.delivery_store import Claimed, Room
from streams.leads.outcomes import Ended
from streams.leads.settling import settle
from streams.processor import passing_reason

ATTEMPTS = prometheus_client.Counter(
    "tallyhook_lead_attempts_total", "Attempts to deliver a lead, by the decision that followed.", ["partner", "decision"]
)
SECONDS = prometheus_client.Histogram(
    "tallyhook_lead_attempt_seconds",
    "Seconds from the start of an attempt to the CRM's answer.",
    ["partner"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30),
)
UNDER_WAY = prometheus_client.Gauge("tallyhook_lead_attempts_under_way", "Attempts that are running.", ["partner"])
BREAKER = prometheus_client.Gauge(
    "tallyhook_lead_breaker_open", "1 while the circuit breaker of the partner is open, else 0.", ["partner"]
)
SUPERSEDED = prometheus_client.Counter(
    "tallyhook_lead_attempts_superseded_total", "Attempts that ended after their claim had expired."
)

log = structlog.get_logger()

_UNKNOWN_EVERY: Final = 5.0  # seconds
_UNKNOWN_MAX: Final = 20  # partners at a time
_UNKNOWN_ROOM: Final = 50  # leads of each


class Limits(NamedTuple):
    """Bounds of the deliveries of one worker."""

    policy: Policy
    timeout: timedelta
    cap: int
    size: int
    """Bytes of leads under way, over all partners; each partner has an equal part of them."""
    breaker_threshold: int
    breaker_cooldown: timedelta
    breaker_longest: timedelta
    poll: timedelta
    lease: timedelta = DEFAULT_LEASE


class Dispatcher(DueSender[Claimed, Ended]):
    """One worker's deliveries; `partners` and `config` may change while it runs, `holds` returns whether one is this worker's."""

    def __init__(
        self,
        pool: Pool,
        crm: Crm,
        partners: Mapping[str, Partner],
        limits: Limits,
        config: Config,
        *,
        holds: Callable[[str], bool],
        heartbeat: Heartbeat | None = None,
        hold: Hold | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
    ) -> None:
        names = SenderNames("leads", "leads_postponed", "leads_unsettled")
        super().__init__(
            pool,
            names,
            heartbeat or Heartbeat("deliveries"),
            lease=limits.lease,
            poll=limits.poll,
            longest=limits.policy.longest,
            hold=hold,
        )
        self._crm = crm
        self._partners = partners
        self._limits = limits
        self._config = config
        self._holds = holds
        self._now = now
        self._draw = draw
        self._breakers = Breakers(self._new_breaker, now)
        self._known: set[str] = set()
        self._claiming: Collection[str] = ()
        self._unknown_at = 0.0

    def busy(self) -> set[str]:
        """Return the partners with attempts under way, or about to be."""
        return {lead.partner for lead in self._under_way.values()} | {*self._claiming}

    async def begin(self, connection: AsyncConnection) -> int:
        mine_now = [key for key in self._partners if self._holds(key)]
        await self._breakers.refresh(connection, mine_now, at_rest=not self._under_way)
        rooms = mine = self._rooms()
        if time.monotonic() >= self._unknown_at:
            self._unknown_at = time.monotonic() + _UNKNOWN_EVERY
            found = await delivery_store.unknown_partners(connection, list(self._partners), self._now(), _UNKNOWN_MAX)
            room = Room(_UNKNOWN_ROOM, self._bytes_per_partner, idle=True)
            rooms = rooms | {key: room for key in found if not self._paused(key)}
        self._claiming = rooms
        try:
            begun = await self._claim(connection, rooms) if rooms else 0
        finally:
            self._claiming = ()
        pulled = await self._breakers.pull(connection, mine.keys() - self.busy())
        if await self._breakers.record(connection) or pulled:
            self.wake()
        return begun

    async def _claim(self, connection: AsyncConnection, rooms: Mapping[str, Room]) -> int:
        """Begin what is due; if the claim fails, claim partner by partner, so that the others are delivered to."""
        suspects = 0 if any(lead.suspect for lead in self._under_way.values()) else 1
        claimed_at = now()
        try:
            claimed = await delivery_store.claim(connection, rooms, self._now(), self._claims.duration, suspects=suspects)
        except Exception as error:
            if passing_reason(error) is not None:
                raise
            if len(rooms) == 1:
                self._failures.note(error, partner=next(iter(rooms)))
                return 0
            return sum([await self._claim(connection, {partner: room}) for partner, room in rooms.items()])
        self.start(claimed, claimed_at)
        return len(claimed)

    async def next_due(self, connection: AsyncConnection) -> float | None:
        mine = [key for key in self._partners if self._holds(key) and not self._paused(key)]
        due = await delivery_store.next_due(connection, mine, self._now())
        return min((seconds for seconds in (due, self._breakers.next_try(mine)) if seconds is not None), default=None)

    async def renew(self, connection: AsyncConnection, rows: Collection[Claimed]) -> list[UUID]:
        return await delivery_store.renew(connection, rows, self._now() + self._claims.duration)

    async def recall(self, connection: AsyncConnection, after: timedelta, within: timedelta) -> None:
        mine = [key for key in self._partners if self._holds(key)]
        now = self._now()
        await delivery_store.recall(connection, mine, now + after, now + within)

    def without_attempt(self, row: Claimed) -> Ended | None:
        over = given_up(row.interruptions, self._policy(row.partner))
        return self._ended_by(row, Answer(error=INTERRUPTED), Exhausted()) if over else None

    async def attempt(self, row: Claimed, check: Callable[[], None]) -> Ended:
        started, began = time.monotonic(), tracing.now()
        answer = await self._crm.send(self._partners.get(row.partner), row, check)
        try:
            self._observe(row, answer, started, began)
        except Exception:  # an answer counts, even if observing it failed
            log.exception("answer_unobserved", reason="internal_error", lead=str(row.id), partner=row.partner)
        return self._end(row, answer)

    def after_error(self, row: Claimed, error: BaseException) -> Ended:
        trace_id = trace_id_of(row.traceparent)
        log.error(ATTEMPT_FAILED, reason=ATTEMPT_FAILED, lead=str(row.id), partner=row.partner, trace_id=trace_id, exc_info=error)
        return self._end(row, Answer(error=ATTEMPT_FAILED, excerpt=described(error)))

    async def settle(self, ended: Sequence[Ended]) -> int:
        current = await settle(self._pool, ended)
        SUPERSEDED.inc(len(ended) - current)
        return current

    @property
    def _bytes_per_partner(self) -> int:
        """Return the bytes of leads that one partner may have under way."""
        return self._limits.size // max(1, len(self._partners))

    def _rooms(self) -> dict[str, Room]:
        """Return the room of each partner of this worker that may begin attempts now."""
        busy = Counter(lead.partner for lead in self._under_way.values())
        size: Counter[str] = Counter()
        for lead in self._under_way.values():
            size[lead.partner] += len(lead.payload)
        self._forget_removed()
        rooms = {}
        for key, partner in self._partners.items():
            if not self._holds(key) and not busy[key]:
                self._breakers.forget(key)
            UNDER_WAY.labels(key).set(busy[key])
            BREAKER.labels(key).set(self._breakers.is_blocked(key))
            room = self._breakers.room(key, busy[key], partner.concurrency or self._limits.cap)
            if room and self._holds(key) and not self._paused(key):
                rooms[key] = Room(room, self._bytes_per_partner - size[key], idle=not busy[key])
        return rooms

    def _forget_removed(self) -> None:
        """Remove the breakers and the metrics of partners that no longer exist."""
        for key in self._known - self._partners.keys():
            self._unknown_at = 0.0
            self._breakers.forget(key)
            UNDER_WAY.remove(key)
            BREAKER.remove(key)
        self._known = {*self._partners}

    def _new_breaker(self) -> Breaker:
        limits = self._limits
        return Breaker(threshold=limits.breaker_threshold, cooldown=limits.breaker_cooldown, longest=limits.breaker_longest)

    def _paused(self, partner: str) -> bool:
        """Return whether the partner is paused: its leads wait, and no attempt is used up."""
        known = self._partners.get(partner)
        return self._config.get(f"partner.{partner}.paused", known is not None and known.paused)

    def _policy(self, partner: str) -> Policy:
        """Return the settings' policy, with the attempts that the runtime configuration or the partner's terms allow."""
        known = self._partners.get(partner)
        of_terms = known.max_attempts if known else None
        for_all = of_terms or self._config.get("lead.max_attempts", self._limits.policy.max_attempts)
        allowed = self._config.get(f"partner.{partner}.max_attempts", for_all)
        return self._limits.policy._replace(max_attempts=allowed)

    def _observe(self, lead: Claimed, answer: Answer, started: float, began: int) -> None:
        """Update the breaker and the metrics of the partner with the answer."""
        if lead.partner in self._partners and answer != UNSENT:
            self._breakers.observe(lead.partner, answer)
            SECONDS.labels(lead.partner).observe(time.monotonic() - started)
        if began:
            _record_span(lead, answer, began)

    def _end(self, lead: Claimed, answer: Answer) -> Ended:
        due = self._breakers.due_of(lead.id)
        if due and not answer.healthy:
            return self._ended_by(lead, answer, RetryAt(max(due, self._now())), counted=False)
        return self._ended_by(lead, answer, self._decide(lead, answer))

    def _decide(self, lead: Claimed, answer: Answer) -> Decision:
        now = self._now()
        try:
            return decide(answer, lead.failures, now, self._policy(lead.partner), self._draw)
        except Exception:  # the settings' own policy has bounds that were checked when this process began
            log.exception("decision_failed", reason=ATTEMPT_FAILED, lead=str(lead.id), partner=lead.partner)
            return fallback_decision(answer, lead.failures, now, self._limits.policy)

    def _ended_by(self, lead: Claimed, answer: Answer, decision: Decision, *, counted: bool = True) -> Ended:
        partner = lead.partner if lead.partner in self._partners else "unknown"
        ATTEMPTS.labels(partner, type(decision).__name__.lower()).inc()
        return Ended(lead, answer, decision, self._now(), counted)


def _record_span(lead: Claimed, answer: Answer, began: int) -> None:
    tracing.record(
        "deliver lead",
        continue_trace(lead.traceparent),
        began,
        parent=span_id_of(lead.traceparent),
        kind="client",
        failed=not answer.delivered,
        http__response__status_code=answer.status,
        error__type=answer.error,
        tallyhook__partner=lead.partner,
        tallyhook__lead=str(lead.id),
        tallyhook__attempt=lead.attempt,
    )
