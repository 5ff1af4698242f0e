"""
Fetches due objects from Stripe's API, and records the answers.

The claims of one object share one call. Calls keep within the rate of this process; while the API is unavailable or requests a
pause, no call is made, and no object loses an attempt by that.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter, Gauge, Histogram

from outbox.clock import read_clock_async
from runtime.database import Pool
from runtime.excerpts import described
from runtime.failures import Failures
from runtime.heartbeat import Heartbeat
from runtime.ids import first_id_of, new_id
from runtime.service import Hold, Service
from runtime.tracing import continue_trace, trace_id_of
from schemas.providers import account_of
from schemas.stripe_snapshots import INVOICE_DELETED, Answer, deletion_of, informative, snapshot_of
from streams.errors import FetchReason
from streams.payments.facts import FETCHED
from streams.payments.fetching import store
from streams.payments.fetching.api import Failed, Gone, StripeApi
from streams.payments.fetching.received import received_of
from streams.payments.fetching.store import Wanted
from streams.processor import passing_reason
from streams.retry_after import FAR, RETRY_AFTER_MAX

log = structlog.get_logger()

_OF_DRAFTS: Final = frozenset({"invoice.created", "invoice.updated", INVOICE_DELETED})
FETCHES = Counter("tallyhook_stripe_fetches_total", "Requests to Stripe's API, by cause and outcome.", ["why", "outcome"])
SECONDS = Histogram(
    "tallyhook_stripe_fetch_seconds",
    "Seconds per request to Stripe's API.",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
DUE = Gauge("tallyhook_stripe_fetches_due", "Fetches from Stripe's API that are due now; the same in every payments worker.")
LATENESS = Gauge(
    "tallyhook_stripe_fetch_lateness_seconds",
    "Seconds since the oldest fetch was due; the same in every payments worker.",
)
_LOOK_EVERY: Final = 5.0  # seconds
_FORGET_EVERY: Final = 600.0
_DOUBLINGS_MAX: Final = 30


class Limits(NamedTuple):
    """
    The bounds of fetching: `rate` calls a second, and at most `attempts` for one object, with pauses that double.

    `kept` is the time for which an event can be replayed; its claims are kept as long.
    """

    rate: float
    attempts: int
    base: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(hours=1)
    batch: int = 20
    claim: timedelta = timedelta(minutes=2)
    poll: timedelta = timedelta(milliseconds=500)
    kept: timedelta = timedelta(days=400)


class Fetcher:
    """The fetches of one worker; without an `api`, which needs a key, it only reports the backlog."""

    def __init__(
        self,
        pool: Pool,
        api: StripeApi | None,
        limits: Limits,
        *,
        consumer: str,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self.api = api
        """May be replaced at any time; a batch that is under way keeps the one that it began with."""
        self._limits = limits
        self._consumer = consumer
        self._draw = draw
        self.heartbeat = Heartbeat("stripe fetches")
        self._next_call = self._look_at = self._forget_at = 0.0
        self._held_until = 0.0
        self._holds = 0

    def fetching(self, hold: Hold | None = None) -> Service:
        """Return the service; an object that is being fetched when the service is closed is due again when its claim ends."""

        async def turn() -> float:
            await self._report_backlog()
            fetched = await self.run_once()
            return 0.0 if fetched >= self._limits.batch else self._limits.poll.total_seconds()

        failures = Failures("stripe fetches", postponed="fetches_postponed", passing=passing_reason, longest_away=1.0)
        return Service("stripe fetches", turn, failures, hold=hold, heartbeat=self.heartbeat)

    async def run_once(self) -> int:
        """
        Fetch due objects, up to a batch, and return their number. Raises only errors that may pass, after all others have
        ended.
        """
        api = self.api
        if api is None or time.monotonic() < self._held_until:
            return 0
        async with self._pool.connection() as connection:
            claimed = await store.claim(connection, self._limits.batch, self._limits.claim)
        groups = [list(group) for _, group in groupby(sorted(claimed, key=_object_of), key=_object_of)]
        outcomes = await asyncio.gather(*(self._settle(api, group) for group in groups), return_exceptions=True)
        if failures := [outcome for outcome in outcomes if isinstance(outcome, Exception)]:
            raise failures[0]
        return len(claimed)

    async def _settle(self, api: StripeApi, group: Sequence[Wanted]) -> None:
        """Settle the claims of one object: any error is a failure of this object alone."""
        try:
            await self._fetch(api, group)
        except Exception as error:
            if passing_reason(error) is not None:
                raise
            log.exception("fetch_failed", reason="fetch_failed", kind=group[0].kind, object=group[0].object_id)
            await self._fail(group, Failed(FetchReason.FETCH_FAILED, described(error)))

    async def _fetch(self, api: StripeApi, group: Sequence[Wanted]) -> None:
        await self._take_turn()
        if time.monotonic() < self._held_until:  # since the batch was claimed
            await self._put_back(group)
            return
        latest = max(group, key=lambda claimed: (claimed.after, claimed.event_id))
        with SECONDS.time():
            answer = await api.fetch(latest)
        if not isinstance(answer, Failed) or not answer.concerns_all:
            self._holds = 0
        match answer:
            case Answer():
                await self._record_answer(group, latest, answer)
            case Gone(detail=str(detail)) if not await self._may_be_gone(group):
                await self._fail(group, Failed(FetchReason.OBJECT_NOT_FOUND, detail))
            case Gone():
                await self._record_deletion(group)
                await self._end([claimed for claimed in group if not _is_deletion(claimed)], "gone", answer.reason)
            case Failed():
                await self._fail(group, answer)

    async def _may_be_gone(self, group: Sequence[Wanted]) -> bool:
        """
        Return true if an object that is not found was deleted.

        An object of another account is not found either, and an endpoint may be of another account than the key. Only a deletion
        states itself that the object is gone, whoever owns it.
        """
        if not all(map(_may_be_deleted, group)):
            return False
        if any(claimed.cause == INVOICE_DELETED for claimed in group):
            return True
        async with self._pool.connection() as connection:
            return not await store.came_by_endpoint(connection, group)

    async def _take_turn(self) -> None:
        """Wait until the rate allows the next call."""
        moment = time.monotonic()
        self._next_call = max(self._next_call, moment) + 1 / self._limits.rate
        await asyncio.sleep(self._next_call - 1 / self._limits.rate - moment)

    async def _record_answer(self, group: Sequence[Wanted], latest: Wanted, answer: Answer) -> None:
        # An event whose order was asked for has itself stated what is not in the object.
        cause = latest.cause if any(claimed.why == "thin" for claimed in group) else ""
        body = snapshot_of(answer, _event_id(latest), cause)
        if body is None:
            await self._end(group, "empty", "object_says_nothing")
            return
        await self._record(group, latest, body)

    async def _record_deletion(self, group: Sequence[Wanted]) -> None:
        """Record that a draft invoice was deleted, if an event among the claims states it: the object cannot show it any more."""
        if deletions := [claimed for claimed in group if _is_deletion(claimed)]:
            named = deletions[0]
            account = account_of(named.account, named.context)
            body = deletion_of(named.object_id, _event_id(named), named.after, account=account, livemode=named.livemode)
            await self._record(deletions, named, body)

    async def _record(self, group: Sequence[Wanted], cause: Wanted, body: bytes) -> None:
        received = received_of(body, new_id(), continue_trace(cause.traceparent).traceparent)
        async with self._pool.connection() as connection:
            done = await store.record_answer(connection, group, received, cause.event_id)
        FETCHES.labels(cause.why, "fetched" if done else "overtaken").inc()

    async def _end(self, group: Sequence[Wanted], outcome: store.Outcome, reason: str) -> None:
        for claimed in group:
            async with self._pool.connection() as connection:
                await store.settle(connection, claimed, outcome, reason)
            FETCHES.labels(claimed.why, outcome).inc()
            log.info(
                "fetch_ended",
                reason=reason,
                kind=claimed.kind,
                object=claimed.object_id,
                trace_id=trace_id_of(claimed.traceparent),
            )

    async def _fail(self, group: Sequence[Wanted], failed: Failed) -> None:
        if failed.concerns_all:
            self._hold(failed)
        for claimed in group:
            facts = {"reason": failed.reason, "kind": claimed.kind, "object": claimed.object_id, "attempt": claimed.attempts}
            log.warning("fetch_failed", **facts, detail=failed.detail[:200], trace_id=trace_id_of(claimed.traceparent))
            async with self._pool.connection() as connection:
                if failed.final or (failed.blamed and claimed.attempts >= self._limits.attempts):
                    detail = (
                        f"{claimed.kind} {claimed.object_id} could not be fetched in {claimed.attempts} attempts: {failed.detail}"
                    )
                    await store.give_up(connection, claimed, self._consumer, failed.reason, detail)
                    FETCHES.labels(claimed.why, "given_up").inc()
                else:
                    await store.postpone(
                        connection, claimed, self._pause(claimed.attempts, failed), failed.reason, counts=failed.blamed
                    )
                    FETCHES.labels(claimed.why, "failed").inc()

    async def _put_back(self, group: Sequence[Wanted]) -> None:
        """Postpone claims for which no call was made."""
        pause = timedelta(seconds=max(0.0, self._held_until - time.monotonic()))
        for claimed in group:
            async with self._pool.connection() as connection:
                await store.postpone(connection, claimed, pause, "stripe_held", counts=False)

    def _hold(self, failed: Failed) -> None:
        """Make no calls for a while: as long as the API requests, otherwise longer after each such failure in a row."""
        self._holds += 1
        until = time.monotonic() + self._pause(self._holds, failed).total_seconds()
        self._held_until = max(self._held_until, until)

    def _pause(self, failures: int, failed: Failed) -> timedelta:
        """Return a pause between half of the doubled one and all of it, so that what failed together is not retried together."""
        doubled = self._limits.base.total_seconds() * 2.0 ** min(failures - 1, _DOUBLINGS_MAX)
        pause = timedelta(seconds=min(doubled, self._limits.longest.total_seconds()) * (0.5 + self._draw() / 2))
        return max(pause, min(failed.patience or pause, RETRY_AFTER_MAX))

    async def _report_backlog(self) -> None:
        """Report the backlog; now and then, correct due times that cannot be right, and delete claims of events that are gone."""
        moment = time.monotonic()
        if moment < self._look_at:
            return
        self._look_at = moment + _LOOK_EVERY
        async with self._pool.connection() as connection:
            due, lateness = await store.backlog(connection)
            if moment >= self._forget_at:
                self._forget_at = moment + _FORGET_EVERY
                await store.recall(connection, max(self._limits.longest, FAR), self._limits.claim)
                clock = await read_clock_async(connection)
                if not clock.skewed:  # either clock may be wrong: nothing is deleted then
                    await store.forget(connection, first_id_of(clock.now - self._limits.kept))
        DUE.set(due)
        LATENESS.set(lateness)


def _event_id(cause: Wanted) -> str:
    """Return the id of an answer. It is named after its cause, so that a second fetch for the cause is a duplicate."""
    return f"{FETCHED}{cause.event_id.hex}_{cause.kind}_{cause.object_id}"[:255]


def _is_deletion(claimed: Wanted) -> bool:
    return claimed.kind == "invoice" and claimed.cause == INVOICE_DELETED


def _may_be_deleted(claimed: Wanted) -> bool:
    """Test data can be deleted, but of live mode only draft invoices (https://docs.stripe.com/api/invoices/delete)."""
    return claimed.livemode is False or (claimed.kind == "invoice" and claimed.cause in _OF_DRAFTS)


def _object_of(claimed: Wanted) -> tuple[str, ...]:
    """Return the key of the claims that one call, and so one event, can answer."""
    return claimed.kind, claimed.object_id, claimed.context or "", claimed.account or "", informative(claimed.cause)
