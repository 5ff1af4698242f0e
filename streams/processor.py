"""
The loop around every handler.

A batch is divided into lanes by key, a small one into a single lane; each lane is one Postgres transaction of marks and effects.
A lane that fails is divided until the event that fails is alone, and that one is set aside; while a needed server is unavailable,
the lane waits. When `process` returns, every record has had its effects or is set aside, durably, and may be acknowledged. It
raises only when it is cancelled.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Final, NamedTuple, Protocol
from uuid import UUID
from zlib import crc32

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.errors import CheckViolation, DataError, IntegrityError, ProgramLimitExceeded

from outbox import lost
from outbox.lost import Loss
from runtime import database, tracing
from runtime.database import Pool
from runtime.excerpts import described, excerpt_of
from runtime.tracing import continue_trace, span_id_of, trace_id_of
from schemas.envelope import Event
from streams import metrics, store
from streams.errors import Poison, PoisonReason, Transient
from streams.records import Record, decode
from streams.replays import Replays
from streams.role import Handler, PatientHandler, RestoringHandler
from streams.settings import LANE_SIZE

log = structlog.get_logger()

_FIRST_PAUSE: Final = 0.2

Work = Callable[[AsyncConnection], Awaitable[None]]
Postponed = Callable[[str, str], None]


class Item(NamedTuple):
    """A record and the event that it holds, and the offset replay that it belongs to."""

    record: Record
    event: Event
    replay: UUID | None = None


class Processor:
    """
    Gives batches of records their effects, by one handler.

    It calls `waiting` at each attempt, so that waiting is no hang, and `postponed` with reason and error before each pause.
    """

    def __init__(
        self,
        handler: Handler,
        pool: Pool,
        *,
        lanes: int,
        lane_size: int = LANE_SIZE,
        retry_max: timedelta,
        waiting: Callable[[], None] = lambda: None,
        postponed: Postponed = lambda *_: None,
    ) -> None:
        """A batch has one lane for every `lane_size` records that it holds, and `lanes` of them at most."""
        self._handler = handler
        self._pool = pool
        self._lanes = lanes
        self._lane_size = lane_size
        self._waiting = waiting
        self._postponed = postponed
        self._retry_max = retry_max.total_seconds()
        self._worker = handler.consumer
        self._restore = handler.restore if isinstance(handler, RestoringHandler) else handler.handle
        self._replays = Replays(handler.consumer)
        if isinstance(handler, PatientHandler):
            handler.on_progress(waiting)

    def reassigned(self) -> None:
        """Forget the known replays: offsets of assigned partitions may have been moved back while no process read them."""
        self._replays.forget()

    async def process(self, records: Sequence[Record]) -> None:
        """Give every record its effects, once, or record it as a dead letter; waits as long as a needed server is unavailable."""
        if not self._replays.is_loaded:
            await self._persist(self._replays.load)
        metrics.BATCH.labels(self._worker).observe(len(records))
        lanes: list[list[Item]] = [[] for _ in range(max(1, min(self._lanes, len(records) // self._lane_size)))]
        with metrics.ROUND.labels(self._worker).time():
            for record in records:
                try:
                    event = decode(record)
                except Poison as poison:
                    await self._set_aside(record, None, poison)
                else:
                    replay = self._replays.suppressing(record) if self._replays.open else None
                    lanes[crc32(event.aggregate_id.encode()) % len(lanes)].append(Item(record, event, replay))
            await asyncio.gather(*(self._settle(lane) for lane in lanes if lane))
        if self._replays.open and (over := self._replays.passed(records)):
            await self._persist(lambda connection: self._replays.finish(connection, over))

    async def report(self, losses: Sequence[Loss]) -> None:
        """Record ranges that Kafka has lost unread, so that the relay sends them again; waits while Postgres is unavailable."""

        async def work(connection: AsyncConnection) -> None:
            await lost.report(connection, losses)

        await self._persist(work)

    async def _settle(self, items: Sequence[Item]) -> None:
        """Handle the items; where one of them fails, in ever smaller groups and in their order."""
        groups = [items]  # the first of them is at the end
        while groups:
            group = groups.pop()
            if (poison := await self._attempt(group)) is None:
                continue
            if len(group) == 1:
                await self._set_aside(group[0].record, group[0].event, poison)
            else:
                metrics.SPLIT.labels(self._worker).inc()
                groups += reversed(_divided(group, poison))

    async def _attempt(self, items: Sequence[Item]) -> Poison | None:
        """Handle the items in one transaction; returns why they failed, if they did."""
        try:
            with handling(self._worker, items):
                await self._persist(lambda connection: self._handle(connection, items))
        except Poison as poison:
            return poison
        except Exception as error:  # noqa: BLE001  # whatever a handler raises must cost one event, not the partition
            return Poison(PoisonReason.HANDLER_FAILED, described(error, store.DETAIL_LENGTH))
        return None

    async def _handle(self, connection: AsyncConnection, items: Sequence[Item]) -> None:
        tracing.discard_written()
        fresh = await self._mark(connection, items)
        events: list[Event] = []
        restored: list[Event] = []
        for item in items:
            if item.event.id in fresh:
                fresh.discard(item.event.id)  # the same event twice in a batch is handled once
                if item.replay is None:
                    events.append(item.event)
                else:
                    restored.append(msgspec.structs.replace(item.event, replay_id=item.replay))
        if restored:  # before the others, as in every partition
            await self._restore(connection, restored)
            metrics.RESTORED.labels(self._worker).inc(len(restored))
        if events:
            await self._handler.handle(connection, events)
        for kind, number in Counter(event.type for event in (*restored, *events)).items():
            metrics.HANDLED.labels(self._worker, kind).inc(number)
        metrics.REPEATED.labels(self._worker).inc(len(items) - len(events) - len(restored))

    async def _mark(self, connection: AsyncConnection, items: Sequence[Item]) -> set[object]:
        try:
            return {*await store.mark(connection, self._worker, [item.event.id for item in items])}
        except CheckViolation as error:
            # The table has no partition for that day: its marks are gone, so the event may have been handled before.
            raise Poison(PoisonReason.EVENT_OUTSIDE_RETENTION, "the day of the event's id is outside the retention") from error

    async def _set_aside(self, record: Record, event: Event | None, poison: Poison) -> None:
        async def work(connection: AsyncConnection) -> None:
            if await store.set_aside(connection, self._worker, record, event, poison):
                metrics.DEAD_LETTERED.labels(self._worker, poison.reason).inc()

        log.error(
            "dead_lettered",
            reason=poison.reason,
            detail=str(poison)[:500],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            event_id=event.id if event else None,
            trace_id=trace_id_of(event.traceparent) if event else None,
        )
        with handling(self._worker, [Item(record, event)] if event else [], reason=poison.reason):
            await self._persist(work)

    async def _persist(self, work: Work) -> None:
        """Run the work in one transaction, again and again while a needed server is unavailable."""
        pause = _FIRST_PAUSE
        while True:
            self._waiting()
            try:
                async with self._pool.connection() as connection, connection.transaction():
                    await work(connection)
            except Poison:
                raise
            except Exception as error:
                if (reason := passing_reason(error)) is None:
                    raise
                await self._wait(reason, error, pause)
                pause = min(pause * 2, self._retry_max)
            else:
                metrics.BLOCKED.labels(self._worker).set(0)
                return

    async def _wait(self, reason: str, error: Exception, pause: float) -> None:
        metrics.RETRIED.labels(self._worker, reason).inc()
        metrics.BLOCKED.labels(self._worker).set(1)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311  # jitter is no secret
        text = excerpt_of(error)
        log.warning("waiting", reason=reason, error=text, retry_in=round(pause, 2))
        self._postponed(reason, text)
        await asyncio.sleep(pause)


def _divided(items: Sequence[Item], poison: Poison) -> list[Sequence[Item]]:
    """Return smaller groups of the items: each culprit alone if the handler has named any, otherwise two halves."""
    culprits = {poison.event_id, *poison.others}
    cuts: list[int] = []
    for n, item in enumerate(items):
        if item.event.id in culprits:
            culprits.discard(item.event.id)  # a second record of the event is marked as handled by then
            cuts += (n, n + 1)
    cuts = cuts or [len(items) // 2]
    return [group for start, end in pairwise([0, *cuts, len(items)]) if (group := items[start:end])]


def passing_reason(error: Exception) -> str | None:
    """Return the reason if the same work may succeed later, or None if the event or the handler is at fault."""
    if isinstance(error, Transient):
        return error.reason
    if reason := database.passing_reason(error):
        return reason
    if isinstance(error, psycopg.Error) and not isinstance(error, (DataError, IntegrityError, ProgramLimitExceeded)):
        return "postgres_refuses"  # a missing table or right: a deployment's fault, which no event should pay for
    return None


class Handled(Protocol):
    """A record and the event in it."""

    @property
    def record(self) -> Record: ...
    @property
    def event(self) -> Event: ...


@contextmanager
def handling(worker: str, items: Sequence[Handled], *, reason: str | None = None) -> Iterator[None]:
    """
    Enclose a transaction: if it succeeds, a span is recorded for each event, and below it those of the events that it caused.

    `reason` is the reason of events that failed, whose dead letters the transaction writes.
    """
    if not tracing.on():
        yield
        return
    began = tracing.now()
    steps = [(item, continue_trace(item.event.traceparent)) for item in items]
    with tracing.transaction({item.event.id: step for item, step in steps}):
        yield
    for item, step in steps:
        tracing.record(
            f"process {item.record.topic}",
            step,
            began,
            parent=span_id_of(item.event.traceparent),
            kind="consumer",
            failed=reason is not None,
            error__type=reason,
            messaging__system="kafka",
            messaging__operation__type="process",
            messaging__consumer__group__name=worker,
            messaging__destination__name=item.record.topic,
            messaging__destination__partition__id=str(item.record.partition),
            messaging__kafka__offset=item.record.offset,
            messaging__message__id=str(item.event.id),
            tallyhook__type=item.event.type,
        )
    if reason is None:
        tracing.record_batch("round", began, [step.traceparent for _, step in steps], tallyhook__events=len(steps))
