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
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from outbox import tasks
from outbox.alerts import PARTNER_FAILING, note, tally
from outbox.append import append
from projections.config_view import Config
from runtime import spans
from runtime.database import UNAVAILABLE, Pool
from runtime.heartbeat import Heartbeat, now
from runtime.partners import Partner
from runtime.sessions import DEFAULT_LEASE
from runtime.tracing import Trace, continue_trace, parse_traceparent
from streams.claims import Claims
from streams.leads import metrics, store
from streams.leads.breaker import Breaker
from streams.leads.crm import UNSENT, Crm
from streams.leads.decisions import Answer, Policy, decide
from streams.leads.outcomes import Ended, outcome_of
from streams.leads.store import Claimed, Room

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
        self._breakers = {key: self._new_breaker() for key in partners}
        self._held: dict[str, datetime] = {}
        self._claiming: Collection[str] = ()
        self._under_way: dict[asyncio.Task[Answer], Claimed] = {}
        self._ended: list[Ended] = []
        self._strangers_at = 0.0
        self._claims = Claims(limits.lease)

    async def run(self) -> None:
        """Round after round; when it is cancelled, what is under way may still end and is written down."""
        try:
            while True:
                self._heartbeat.beat()
                try:
                    await self.run_once()
                    await self._rest()
                except UNAVAILABLE as error:
                    log.warning("leads_postponed", reason="postgres_unavailable", error=str(error).strip()[:500])
                    await asyncio.sleep(_PAUSE)
        finally:
            await self._wind_up()

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
        rooms = self._rooms()
        async with self._pool.connection() as connection:
            if self._claims.due:
                await self._renew(connection)
            if time.monotonic() >= self._strangers_at:
                self._strangers_at = time.monotonic() + _STRANGERS_EVERY
                found = await store.strangers(connection, list(self._partners), self._now(), _STRANGERS)
                room = Room(_STRANGERS_ROOM, self._part, idle=True)
                rooms |= {key: room for key in found if not self._paused(key)}
            claimed = await self._claim(connection, rooms) if rooms else []
        return len(claimed)

    async def _renew(self, connection: AsyncConnection) -> None:
        asked_at, until = now(), self._now() + self._claims.duration
        self._claims.take(await store.renew(connection, [*self._under_way.values()], until), asked_at)

    async def _claim(self, connection: AsyncConnection, rooms: Mapping[str, Room]) -> list[Claimed]:
        self._claiming = rooms
        try:
            asked_at = now()
            claimed = await store.claim(connection, rooms, self._now(), self._claims.duration)
            self._claims.take([lead.id for lead in claimed], asked_at)
            for lead in claimed:
                self._under_way[asyncio.create_task(self._attempt(lead))] = lead
        finally:
            self._claiming = ()
        return claimed

    @property
    def _part(self) -> int:
        """The bytes of leads that one partner may have under way."""
        return self._limits.size // max(1, len(self._partners))

    def _rooms(self) -> dict[str, Room]:
        """What each partner of this worker may begin now."""
        moment = time.monotonic()
        busy = Counter(lead.partner for lead in self._under_way.values())
        size: Counter[str] = Counter()
        for lead in self._under_way.values():
            size[lead.partner] += len(lead.payload)
        rooms = {}
        for key in self._partners:
            if not self._holds(key) and not busy[key]:
                self._forget(key)
            breaker = self._breakers[key]
            metrics.UNDER_WAY.labels(key).set(busy[key])
            metrics.BREAKER.labels(key).set(breaker.state(moment) != "closed" or self._is_held(key))
            room = breaker.room(moment, busy[key], self._limits.cap)
            if room and self._holds(key) and not self._is_held(key) and not self._paused(key):
                rooms[key] = Room(room, self._part - size[key], idle=not busy[key])
        return rooms

    def _forget(self, partner: str) -> None:
        """What was seen of its CRM: another worker sees it now."""
        self._breakers[partner] = self._new_breaker()
        self._held.pop(partner, None)

    def _new_breaker(self) -> Breaker:
        limits = self._limits
        return Breaker(threshold=limits.breaker_threshold, cooldown=limits.breaker_cooldown, longest=limits.breaker_longest)

    def _is_held(self, partner: str) -> bool:
        """While its CRM has asked for patience (`Retry-After`), its other leads wait too, and no attempt is used up."""
        return partner in self._held and self._now() < self._held[partner]

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
        if (breaker := self._breakers.get(lead.partner)) and answer != UNSENT:
            breaker.note(time.monotonic(), healthy=answer.healthy)
            metrics.SECONDS.labels(lead.partner).observe(time.monotonic() - started)
        if began:
            _tell(lead, answer, began)
        if answer.hold:
            until = self._now() + answer.hold
            self._held[lead.partner] = max(until, self._held.get(lead.partner, until))
        return answer

    def _gather(self) -> None:
        for task in [task for task in self._under_way if task.done()]:
            lead = self._under_way.pop(task)
            self._claims.drop(lead.id)
            now, answer = self._now(), task.result()
            decision = decide(answer, lead.failures, now, self._policy(lead.partner), self._draw)
            partner = lead.partner if lead.partner in self._partners else "unknown"
            metrics.ATTEMPTS.labels(partner, type(decision).__name__.lower()).inc()
            self._ended.append(Ended(lead, answer, decision, now))

    async def _settle(self) -> int:
        """One transaction for all that has ended; kept for the next round where it fails."""
        if not self._ended:
            return 0
        batch = self._ended[:]
        with spans.unit(_causes(batch)):
            current = await self._write_down(batch)
        del self._ended[: len(batch)]
        metrics.SUPERSEDED.inc(len(batch) - current)
        return current

    async def _write_down(self, batch: list[Ended]) -> int:
        async with self._pool.connection() as connection, connection.transaction():
            standings = await store.lock(connection, [ended.lead.id for ended in batch])
            current = [each for each in batch if _is_current(each, standings)]
            outcomes = [outcome_of(each, standings[each.lead.id].version) for each in current]
            if outcomes:
                await store.move(connection, [outcome.move for outcome in outcomes])
                events = [event for outcome in outcomes for event in outcome.events]
                await store.remember(connection, events)
                await append(connection, events + [outcome.alert for outcome in outcomes if outcome.alert])
            await _count(connection, current)
            for ended in current:
                result = {"delivered": ended.answer.delivered, "attempt": ended.lead.attempt}
                for task_id in standings[ended.lead.id].task_ids:
                    await tasks.finish(connection, task_id, result)
        return len(current)

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
        except UNAVAILABLE as error:
            log.warning("leads_unsettled", reason="postgres_unavailable", error=str(error).strip()[:500])


async def _count(connection: AsyncConnection, ended: Sequence[Ended]) -> None:
    """Attempts, and those that failed, by partner: where too many of them do, that is an alert."""
    if ended:
        await tally(connection, PARTNER_FAILING, Counter(each.lead.partner for each in ended))
    failed = Counter(each.lead.partner for each in ended if not each.answer.delivered)
    for partner, number in sorted(failed.items()):  # one order, so that two dispatchers do not deadlock
        await note(connection, PARTNER_FAILING, partner, number)


def _is_current(ended: Ended, standings: Mapping[UUID, store.Standing]) -> bool:
    """Whether the attempt still is the lead's: one whose claim ran out has been told as interrupted, and another has begun."""
    standing = standings.get(ended.lead.id)
    return standing is not None and (standing.attempts, standing.status) == (ended.lead.attempt, "delivering")


def _causes(batch: list[Ended]) -> dict[UUID, Trace]:
    """The spans of the events that brought the leads."""
    return {each.lead.id: cause for each in batch if (cause := parse_traceparent(each.lead.traceparent))} if spans.on() else {}


def _tell(lead: Claimed, answer: Answer, began: int) -> None:
    spans.tell(
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
