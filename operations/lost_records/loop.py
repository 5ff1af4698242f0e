"""
Sends records again that Kafka has lost: one relay at a time checks all groups every few seconds, and sends at a limited rate.

If the relay dies, the rest of the work is in Postgres, and the next relay continues it.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter, Gauge
from psycopg import AsyncConnection, Notify

from operations.lost_records import store as lost_search
from outbox import lost
from outbox.errors import BrokerError
from outbox.locks import Lock
from outbox.lost import REPORTED_CHANNEL, Loss, TopicState, losses_of
from outbox.offsets import BrokerState, Offsets, Place, Span
from outbox.settings import RelaySettings
from runtime.failures import POSTPONED, Failures
from runtime.service import Service, connected, lead
from runtime.sessions import DEFAULT_LEASE, kept_alive
from schemas.topology import group_of, workers

log = structlog.get_logger()

OPEN: Final = Gauge(
    "tallyhook_lost_ranges",
    "Ranges of records that Kafka lost before a worker read them and that are not completely handled yet.",
    ["worker"],
)
WAITING: Final = Gauge(
    "tallyhook_lost_events", "Events that Kafka had lost and that were published again but are not handled yet.", ["worker"]
)
RESENT: Final = Counter(
    "tallyhook_lost_resent_total", "Events that the relay published again because Kafka had lost them.", ["topic"]
)

_CHECK_EVERY: Final = 10.0  # seconds
_TURN: Final = 1.0  # seconds
_STATEMENT: Final = timedelta(minutes=5)
_COMMITS_EVERY: Final = 60.0
"""Seconds between two reads of the commits while nothing is written to Kafka and everything has been handled."""
_CONSUMES: Final[Mapping[str, tuple[str, ...]]] = {each.name: tuple(map(str, each.consumes)) for each in workers()}


class QuietState:
    """
    The state of Kafka at the last check, if everything was handled and nothing was lost.

    While the topics and the offsets of their partitions do not change, only an operator can move a commit. Then the commits are
    read once a minute only, because that needs a client for each group.
    """

    def __init__(self) -> None:
        self._known: tuple[dict[str, str], dict[Place, Span]] | None = None
        self._until = 0.0

    def is_unchanged(self, offsets: Offsets, topics: list[str]) -> bool:
        """Return whether topics and offsets are unchanged; false once a minute, so that commits are read. Raises BrokerError."""
        if self._known is None or time.monotonic() >= self._until:
            return False
        return self._known == (offsets.topic_ids(topics), offsets.spans(topics))

    def reset(self) -> None:
        """Let the next check read everything."""
        self._known = None

    def keep(self, found: BrokerState, now: Mapping[str, TopicState], consumes: Mapping[str, tuple[str, ...]]) -> None:
        """Keep the state of a check whose results are stored, if every worker has handled everything."""
        places = [(consumer, place) for consumer, read in consumes.items() for place in found.spans if place.topic in read]
        is_quiet = all(
            found.groups[group_of(consumer)].committed.get(place, 0) == found.spans[place].end for consumer, place in places
        )
        self._known = ({topic: seen.topic_id for topic, seen in now.items()}, dict(found.spans)) if is_quiet else None
        self._until = time.monotonic() + _COMMITS_EVERY


def recovering(settings: RelaySettings) -> Service:
    """Return the service; only the relay that leads exports figures."""
    offsets = Offsets(settings.kafka)
    next_check = 0.0

    async def use(connection: AsyncConnection) -> None:
        quiet, reported = QuietState(), asyncio.Event()

        async def recover_once(connection: AsyncConnection) -> float:
            nonlocal next_check
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + _CHECK_EVERY
                await _find_losses(connection, offsets, settings.lock_lease, quiet)
            turn = await run_once(connection, settings.lost_resend_rate)
            if turn.open:
                quiet.reset()
                return _TURN
            return max(0.0, next_check - time.monotonic())

        def on_report(_: Notify) -> None:
            """Check at once: the search needs the ends of the partitions from before it sends anything."""
            nonlocal next_check
            next_check = 0.0
            quiet.reset()
            reported.set()

        connection.add_notify_handler(on_report)
        await connection.execute(f"listen {REPORTED_CHANNEL}".encode())
        try:
            await lead(connection, Lock.RECOVERY, recover_once, every=_CHECK_EVERY, lease=settings.lock_lease, woken=reported)
        finally:
            OPEN.clear()
            WAITING.clear()

    rounds = connected(settings.database_url, "recovery", use, lease=settings.lock_lease, holds=True, statement=_STATEMENT)
    failures = Failures("recovery", postponed="recovery_postponed", failed="recovery_failed", longest_away=_CHECK_EVERY)
    return Service("recovery", rounds, failures)


async def _find_losses(connection: AsyncConnection, offsets: Offsets, lease: timedelta, quiet: QuietState) -> None:
    try:
        await find_losses(connection, offsets, _CONSUMES, lease, quiet)
    except BrokerError as error:
        POSTPONED.labels("recovery", error.reason).inc()
        log.warning("recovery_postponed", reason=error.reason, error=str(error))


async def find_losses(
    connection: AsyncConnection,
    offsets: Offsets,
    consumes: Mapping[str, tuple[str, ...]],
    lease: timedelta = DEFAULT_LEASE,
    quiet: QuietState | None = None,
) -> list[Loss]:
    """Find the records that these consumers lost, report them, and return the losses that are new. Raises BrokerError."""
    quiet = quiet or QuietState()
    topics = sorted({topic for names in consumes.values() for topic in names})
    async with kept_alive(connection, lease):  # Kafka may take longer than the lease of an idle session
        if await asyncio.to_thread(quiet.is_unchanged, offsets, topics):
            return []
        found, now = await asyncio.to_thread(_read_kafka, offsets, topics, [group_of(name) for name in consumes])
    before = await lost_search.last_topics(connection)
    losses = [
        loss
        for consumer, read in consumes.items()
        for loss in losses_of(
            consumer,
            {place: span for place, span in found.spans.items() if place.topic in read},
            found.groups[group_of(consumer)].committed,
            before,
            now,
        )
    ]
    fresh = await lost.report(connection, losses)
    await lost_search.store_ends(connection, {place: span.end for place, span in found.spans.items()})
    await lost_search.store_topics(connection, now)
    quiet.keep(found, now, consumes)
    return fresh


class Turn(NamedTuple):
    """The result of one turn: the number of events that were sent again, and of ranges that are not completely handled."""

    sent: int
    open: int


async def run_once(connection: AsyncConnection, limit: int) -> Turn:
    """Send up to `limit` events again, settle those that have been handled, and export the figures."""
    sent, until = 0, time.monotonic() + _TURN
    while sent < limit and time.monotonic() < until and (searches := await lost_search.searches(connection)):
        number = await lost_search.search(connection, searches[0], limit - sent)
        RESENT.labels(searches[0].topic).inc(number)
        sent += number
    gaps = await lost_search.open_losses(connection)
    if gaps:
        for consumer, topic, partition in await lost_search.settle(connection):
            log.info("records_recovered", worker=consumer, topic=topic, partition=partition)
        gaps = await lost_search.open_losses(connection)
    for consumer in _CONSUMES:
        mine = [gap for gap in gaps if gap.consumer == consumer]
        OPEN.labels(consumer).set(len(mine))
        WAITING.labels(consumer).set(sum({gap.topic: gap.waiting for gap in mine}.values()))
    return Turn(sent, len(gaps))


def _read_kafka(offsets: Offsets, topics: list[str], groups: list[str]) -> tuple[BrokerState, dict[str, TopicState]]:
    """Read ids before offsets, so that the next check notices a topic that is created again in between."""
    ids = offsets.topic_ids(topics)
    found = offsets.look(topics, groups)
    ends: dict[str, list[int]] = {topic: [] for topic in ids}
    for place in sorted(found.spans):
        if place.topic in ends:
            ends[place.topic].append(found.spans[Place(*place)].end)
    return found, {topic: TopicState(ids[topic], ends[topic]) for topic in ids}
