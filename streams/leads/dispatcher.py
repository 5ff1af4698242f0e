"""
Delivers what is due, beside the handler.

Attempts of all partners run side by side in one event loop, each partner within its own cap and behind its own breaker, so a slow
or dead CRM costs nobody else anything. Those that have ended are written down together, many to a commit. Which partners are this
worker's at the time, its share says.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import structlog
from psycopg import AsyncConnection

from projections.config_view import Config
from runtime import spans
from runtime.database import Pool
from runtime.excerpts import described, excerpt_of
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat, now
from runtime.sessions import DEFAULT_LEASE
from runtime.tracing import continue_trace
from schemas.partners import Partner
from streams.claims import Claims
from streams.leads import metrics, store
from streams.leads.breaker import Breaker
from streams.leads.breakers import Breakers
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
    decide_without,
    given_up,
)
from streams.leads.outcomes import Ended
from streams.leads.settling import settle
from streams.leads.store import Claimed, Room
from streams.processor import passing_reason

log = structlog.get_logger()

_PAUSE: Final = 1.0  # seconds, while Postgres is away
_STRANGERS_EVERY: Final = 5.0  # seconds
_STRANGERS: Final = 20  # partners at a time
_STRANGERS_ROOM: Final = 50  # leads of each
_LAST_ANSWERS: Final = 5.0  # seconds that a stopping worker waits for attempts under way


class Limits(NamedTuple):
    """How deliveries are made."""

    policy: Policy
    timeout: timedelta
    cap: int
    size: int
    """Bytes of leads under way, all partners together: each has its part, so that none of them takes another one's."""
    breaker_threshold: int
    breaker_cooldown: timedelta
    breaker_longest: timedelta
    poll: timedelta
    lease: timedelta = DEFAULT_LEASE


class Done(NamedTuple):
    """What one round did."""

    begun: int
    settled: int


class Dispatcher:
    """One worker's deliveries; `config` may change while it runs, `holds` says whose leads are its own."""

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
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._crm = crm
        self._partners = partners
        self._limits = limits
        self._config = config
        self._holds = holds
        self._heartbeat = heartbeat or Heartbeat("deliveries")
        self._now = now
        self._draw = draw
        self._breakers = Breakers(partners, self._new_breaker, now)
        self._claiming: Collection[str] = ()
        self._under_way: dict[asyncio.Task[Answer], Claimed] = {}
        self._ended: list[Ended] = []
        self._strangers_at = 0.0
        self._claims = Claims(limits.lease)
        self._failures = Failures("leads")

    async def run(self) -> None:
        """Round after round, whatever one of them raises; when it is cancelled, what is under way may still end."""
        try:
            while True:
                self._heartbeat.beat()
                try:
                    await self.run_once()
                    await self._rest()
                    self._failures.passed()
                except Exception as error:  # noqa: BLE001  # a surprise must not stop the deliveries of every partner
                    await asyncio.sleep(self._pause_after(error))
        finally:
            await self._wind_up()

    def _pause_after(self, error: Exception) -> float:
        if (reason := passing_reason(error)) is None:
            return self._failures.note(error)
        log.warning("leads_postponed", reason=reason, error=excerpt_of(error))
        return _PAUSE

    async def run_once(self) -> Done:
        """Write down what has ended, then begin what is due and has room."""
        self._gather()
        settled = await self._settle()
        return Done(await self._begin(), settled)

    def busy(self) -> set[str]:
        """The partners with attempts under way, or about to be."""
        return {lead.partner for lead in self._under_way.values()} | {*self._claiming}

    async def idle(self) -> None:
        """Return when nothing is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _rest(self) -> None:
        """Until an attempt ends, or it is time to look for what has become due."""
        poll = self._limits.poll.total_seconds()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=poll, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(poll)

    async def _begin(self) -> int:
        async with self._pool.connection() as connection:
            if self._claims.due:
                await self._renew(connection)
            await self._breakers.look(connection, [key for key in self._partners if self._holds(key)])
            rooms = mine = self._rooms()
            if time.monotonic() >= self._strangers_at:
                self._strangers_at = time.monotonic() + _STRANGERS_EVERY
                found = await store.strangers(connection, list(self._partners), self._now(), _STRANGERS)
                room = Room(_STRANGERS_ROOM, self._part, idle=True)
                rooms = rooms | {key: room for key in found if not self._paused(key)}
            claimed = await self._claim(connection, rooms) if rooms else []
            await self._breakers.pull(connection, mine.keys() - self.busy())
            await self._breakers.tell(connection)
        return len(claimed)

    async def _renew(self, connection: AsyncConnection) -> None:
        asked_at, until = now(), self._now() + self._claims.duration
        self._claims.take(await store.renew(connection, [*self._under_way.values()], until), asked_at)

    async def _claim(self, connection: AsyncConnection, rooms: Mapping[str, Room]) -> list[Claimed]:
        self._claiming = rooms
        try:
            asked_at = now()
            claimed = await self._claim_of(connection, rooms)
            self._claims.take([lead.id for lead in claimed], asked_at)
            for lead in claimed:
                if given_up(lead.interruptions, self._policy(lead.partner)):
                    self._claims.drop(lead.id)
                    self._note_end(lead, Answer(error=INTERRUPTED), Exhausted())
                else:
                    self._under_way[asyncio.create_task(self._attempt(lead))] = lead
        finally:
            self._claiming = ()
        return claimed

    async def _claim_of(self, connection: AsyncConnection, rooms: Mapping[str, Room]) -> list[Claimed]:
        """What is due; where that fails, partner by partner, so that the others are delivered to."""
        suspects = 0 if any(lead.suspect for lead in self._under_way.values()) else 1
        try:
            return await store.claim(connection, rooms, self._now(), self._claims.duration, suspects=suspects)
        except Exception as error:
            if passing_reason(error) is not None:
                raise
            if len(rooms) == 1:
                self._failures.note(error, partner=next(iter(rooms)))
                return []
        return [lead for partner, room in rooms.items() for lead in await self._claim_of(connection, {partner: room})]

    @property
    def _part(self) -> int:
        """The bytes of leads that one partner may have under way."""
        return self._limits.size // max(1, len(self._partners))

    def _rooms(self) -> dict[str, Room]:
        """What each partner of this worker may begin now."""
        busy = Counter(lead.partner for lead in self._under_way.values())
        size: Counter[str] = Counter()
        for lead in self._under_way.values():
            size[lead.partner] += len(lead.payload)
        rooms = {}
        for key in self._partners:
            if not self._holds(key) and not busy[key]:
                self._breakers.forget(key)
            metrics.UNDER_WAY.labels(key).set(busy[key])
            metrics.BREAKER.labels(key).set(self._breakers.is_left_alone(key))
            room = self._breakers.room(key, busy[key], self._limits.cap)
            if room and self._holds(key) and not self._paused(key):
                rooms[key] = Room(room, self._part - size[key], idle=not busy[key])
        return rooms

    def _new_breaker(self) -> Breaker:
        limits = self._limits
        return Breaker(threshold=limits.breaker_threshold, cooldown=limits.breaker_cooldown, longest=limits.breaker_longest)

    def _paused(self, partner: str) -> bool:
        """While it is, its leads wait, and no attempt is used up."""
        return self._config.get(f"partner.{partner}.paused", False)

    def _policy(self, partner: str) -> Policy:
        """The settings', unless the runtime configuration allows other attempts: to the partner, or to everybody."""
        everybody = self._config.get("lead.max_attempts", self._limits.policy.max_attempts)
        allowed = self._config.get(f"partner.{partner}.max_attempts", everybody)
        return self._limits.policy._replace(max_attempts=allowed)

    async def _attempt(self, lead: Claimed) -> Answer:
        started, began = time.monotonic(), spans.now()
        answer = await self._crm.send(self._partners.get(lead.partner), lead, partial(self._claims.check, lead.id))
        try:
            self._observe(lead, answer, started, began)
        except Exception:  # an answer counts, whatever is made of it beside
            log.exception("answer_unobserved", reason="internal_error", lead=str(lead.id), partner=lead.partner)
        return answer

    def _observe(self, lead: Claimed, answer: Answer, started: float, began: int) -> None:
        """What the answer says about the CRM."""
        if lead.partner in self._partners and answer != UNSENT:
            self._breakers.observe(lead.partner, answer)
            metrics.SECONDS.labels(lead.partner).observe(time.monotonic() - started)
        if began:
            _tell(lead, answer, began)

    def _gather(self) -> None:
        for task in [task for task in self._under_way if task.done()]:
            lead = self._under_way.pop(task)
            self._claims.drop(lead.id)
            answer = _answer_of(task, lead)
            due = self._breakers.due_of(lead.id)
            if due and not answer.healthy:
                self._note_end(lead, answer, RetryAt(max(due, self._now())), counted=False)
            else:
                self._note_end(lead, answer, self._decide(lead, answer))

    def _decide(self, lead: Claimed, answer: Answer) -> Decision:
        now = self._now()
        try:
            return decide(answer, lead.failures, now, self._policy(lead.partner), self._draw)
        except Exception:  # the settings' own policy has bounds that were checked when this process began
            log.exception("decision_failed", reason=ATTEMPT_FAILED, lead=str(lead.id), partner=lead.partner)
            return decide_without(answer, lead.failures, now, self._limits.policy)

    def _note_end(self, lead: Claimed, answer: Answer, decision: Decision, *, counted: bool = True) -> None:
        partner = lead.partner if lead.partner in self._partners else "unknown"
        metrics.ATTEMPTS.labels(partner, type(decision).__name__.lower()).inc()
        self._ended.append(Ended(lead, answer, decision, self._now(), counted))

    async def _settle(self) -> int:
        """Write down all that has ended; kept for the next round while Postgres is away."""
        if not self._ended:
            return 0
        batch = self._ended[:]
        current = await settle(self._pool, batch)
        del self._ended[: len(batch)]
        metrics.SUPERSEDED.inc(len(batch) - current)
        return current

    async def _wind_up(self) -> None:
        """What does not end in time is cut off, and repeated by whoever claims it next, under the same message id."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=_LAST_ANSWERS)
            for task in late:
                task.cancel()
                self._claims.drop(self._under_way.pop(task).id)
        self._gather()
        try:
            await self._settle()
        except Exception as error:  # noqa: BLE001  # each of them is repeated when its claim runs out
            reason = passing_reason(error) or "internal_error"
            log.warning("leads_unsettled", reason=reason, leads=len(self._ended), error=described(error))


def _answer_of(task: asyncio.Task[Answer], lead: Claimed) -> Answer:
    """How the attempt went; whatever it raised is its own failure, and nobody else's."""
    error = asyncio.CancelledError("cut off from within") if task.cancelled() else task.exception()
    if error is None:
        return task.result()
    trace_id = lead.traceparent[3:35]
    log.error(ATTEMPT_FAILED, reason=ATTEMPT_FAILED, lead=str(lead.id), partner=lead.partner, trace_id=trace_id, exc_info=error)
    return Answer(error=ATTEMPT_FAILED, excerpt=described(error))


def _tell(lead: Claimed, answer: Answer, began: int) -> None:
    spans.record(
        "deliver lead",
        continue_trace(lead.traceparent),
        began,
        parent=lead.traceparent[36:52],
        kind="client",
        failed=not answer.delivered,
        http__response__status_code=answer.status,
        error__type=answer.error,
        tallyhook__partner=lead.partner,
        tallyhook__lead=str(lead.id),
        tallyhook__attempt=lead.attempt,
    )
