"""
The relay's loop while its connections are open: it sends the pending rows of its shards to Kafka, batch by batch.

`run_once` does one batch. Two batches are under way at once, and while there is a backlog the next one is read ahead on a second
connection, so that reading, sending and deleting overlap. A batch is bounded in rows and in bytes, so that a backlog of large
events costs no more memory than one of small events.
"""

import time
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Final, NamedTuple

from psycopg import Connection, Notify
from psycopg.errors import QueryCanceled

from outbox import metrics, relay_store
from outbox.acknowledged import report_losses
from outbox.append import WAKE_CHANNEL
from outbox.held import HeldTopics
from outbox.publisher import Batch, Publisher
from outbox.read_ahead import ReadAhead
from outbox.refusals import Hold, Isolate, Park, Resend, decide, park_refused, park_unreadable
from outbox.settings import RelaySettings
from outbox.shards import RELAYS, Shards
from runtime import tracing
from runtime.ids import time_of
from runtime.lease import Lease
from runtime.process import Stop
from runtime.tracing import parse_traceparent

BATCHES_UNDER_WAY: Final = 2
_MEASURE_EVERY: Final = 5.0  # seconds between counts of the backlog
_MEASURE_PAUSE: Final = 20  # the next count waits this many times as long as the last one took
_RESEND_AFTER: Final = 0.5  # seconds of pause after Kafka refused something that may pass later
_PAUSE_PER_ROW: Final = 0.0002  # seconds of pause for each row of a small batch
_ROWS_WITHOUT_PAUSE: Final = 50  # rows of a batch after which there is none
_GIVE_UP_AFTER: Final = 5.0  # seconds for which a stopping relay waits for Kafka


class Counts(NamedTuple):
    """
    The events of one round, by outcome; of the parked ones some were refused by Kafka, the others could not be sent at all.

    Those that are sent again for a reason which may pass by itself count as `postponed` too.
    """

    sent: int = 0
    acknowledged: int = 0
    parked: int = 0
    resent: int = 0
    postponed: int = 0


class Session:
    """
    The relay's work over one set of connections: its shards and the batches under way end with them.

    The shards are locks of the lease. Rows that Kafka has acknowledged are deleted even if another relay owns their shard by
    now; nothing else is done without the lock.
    """

    def __init__(
        self,
        lease: Lease,
        connection: Connection,
        ahead: ReadAhead,
        *,
        settings: RelaySettings,
        publisher: Publisher,
        stop: Stop,
    ) -> None:
        self._lease = lease
        self._connection = connection
        self._ahead = ahead
        self._settings = settings
        self._publisher = publisher
        self._stop = stop
        self._under_way: deque[Batch] = deque()
        self._held = HeldTopics(settings.kafka)
        self._woken = False
        self._may_rest = False
        self._one_by_one_up_to = 0  # the id up to which rows are sent alone, to find which of them Kafka refuses
        self._rebalance_at = 0.0
        self._measure_at = 0.0
        self.shards = Shards(lease.connection, RELAYS)

    def run(self) -> None:
        self._connection.add_notify_handler(self._wake)
        self._connection.execute(f"listen {WAKE_CHANNEL}")
        self.shards.join()
        while not self._stop.requested:
            self._do_periodic_work()
            self._woken = False
            counts = self.run_once()
            if self._may_rest and not self._woken:
                self._lease.rest()
                self._stop.wait(self._settings.relay_poll.total_seconds(), self._connection)
            elif counts.postponed:
                self._stop.wait(_RESEND_AFTER)
            elif not self._ahead.is_reading and (pause := pause_after(counts.sent)):
                self._stop.wait(pause)
        self._finish_all(limit=_GIVE_UP_AFTER)

    def run_once(self) -> Counts:
        """Send the next batch; settle the oldest one if two are under way, no new row was found, or Kafka is silent."""
        self._lease.beat()
        tries = self._held.due and (self._held.full or not self._one_by_one_up_to)
        # A row is alone only while no other one is under way: librdkafka puts all waiting records into one request.
        alone = tries or self._one_by_one_up_to > 0
        waits = self._publisher.silent or (alone and self._under_way)
        rows, unreadable = ([], []) if waits else self._oldest_held() if tries else self._next_rows()
        found_nothing = not (rows or unreadable or waits or alone)  # a later commit wakes this loop
        for each in unreadable:
            self._lease.check()
            park_unreadable(self._connection, each)
        if rows:
            metrics.BATCH.observe(len(rows))
            self._under_way.append(self._publisher.send(rows, self._lease.check))
        counts = Counts(sent=len(rows))
        if self._under_way and (not rows or alone or len(self._under_way) >= BATCHES_UNDER_WAY):
            counts = self._finish_oldest()._replace(sent=len(rows))
        counts = counts._replace(parked=counts.parked + len(unreadable))
        done = found_nothing and not (self._under_way or counts.resent)
        self._may_rest = not tries and (done or not any(counts))
        return counts

    def _next_rows(self) -> relay_store.Pending:
        while not self._held.full and not self._stop.requested:
            self._lease.beat()
            self._lease.check()
            pending = self._read()
            rows = self._held.sift(pending.rows)
            if rows or pending.unreadable or not pending.rows:
                return pending._replace(rows=rows)
        return relay_store.Pending([], [])

    def _oldest_held(self) -> relay_store.Pending:
        """Return the oldest row of each topic that is held, to try whether Kafka accepts it by now."""
        self._ahead.take()  # it was read after rows that may be sent soon
        room = relay_store.Room(self._held.begin_try(), self._settings.relay_batch_bytes)
        pending = relay_store.read_pending(self._connection, self.shards.owned, self._held.ids, room)
        return pending._replace(rows=self._held.oldest(pending.rows))

    def _read(self) -> relay_store.Pending:
        whole = relay_store.Room(self._settings.relay_batch, self._settings.relay_batch_bytes)
        room = whole._replace(rows=1) if self._one_by_one_up_to else whole
        pending = self._ahead.take()
        if pending is None or not (pending.rows or pending.unreadable):  # it was read before the commit that woke this loop
            pending = relay_store.read_pending(self._connection, self.shards.owned, self._ids_passed(), room)
        rows = pending.rows
        if not rows or rows[0].id >= self._one_by_one_up_to:
            self._one_by_one_up_to = 0
        if not pending.unreadable and _is_filled(rows, whole):
            self._ahead.start(self.shards.owned, [*self._ids_passed(), *(row.id for row in rows)], room)
        return pending

    def _finish_oldest(self) -> Counts:
        """Wait for the oldest batch, delete the rows that Kafka has, and decide about the others; return early at a stop."""
        batch = self._under_way[0]
        if not self._publisher.settle(batch, self._keep_waiting):
            return Counts()
        self._under_way.popleft()
        if done := batch.acknowledged:
            for topic in {row.event.topic for row in done}:
                self._held.release(topic)
            relay_store.delete(self._connection, [row.id for row in done])
            self._count(done)
            if batch.began:
                _record_spans(done, batch.began)
        report_losses(self._publisher.offsets, self._settings.database_url, self._settings.lock_lease)
        self._lease.check()
        parked = resent = postponed = 0
        for place, refusal in batch.refused.items():
            row, decision = batch.rows[place], decide(refusal.error, alone=refusal.alone)
            if isinstance(decision, Hold) and not self._held.hold(row.event.topic, decision.reason):
                decision = Park(decision.reason)
            if isinstance(decision, Park):
                self._lease.check()
                park_refused(self._connection, row, decision.reason, refusal.detail)
                parked += 1
            else:
                if isinstance(decision, Isolate):  # a broker checks records only after the right
                    self._held.release(row.event.topic)
                metrics.RESENT.labels(decision.reason).inc()
                self._one_by_one_up_to = max(self._one_by_one_up_to, row.id if isinstance(decision, Isolate) else 0)
                resent += 1
                postponed += isinstance(decision, Resend)
        if resent:
            self._start_over()
        return Counts(0, len(done), parked, resent, postponed)

    def _start_over(self) -> None:
        """Begin a new producer session at the oldest pending row; the rows that were under way are sent again."""
        self._publisher.renew()
        self._under_way.clear()
        self._ahead.take()

    def _do_periodic_work(self) -> None:
        self._lease.check()
        now = time.monotonic()
        if now >= self._rebalance_at:
            self._rebalance_at = now + self._settings.relay_rebalance.total_seconds()
            if surplus := self.shards.surplus():
                # Nothing of a shard may be under way when another relay takes it.
                self._finish_all(limit=_GIVE_UP_AFTER)
                if not self._under_way:
                    self._ahead.take()
                    self.shards.release(surplus)
                    self._held.forget_rows()
            metrics.SHARDS_OWNED.set(len(self.shards.owned))
        if now >= self._measure_at:
            self._measure()

    def _keep_waiting(self) -> bool:
        """Use the connections while Kafka is silent, so that a lost one is noticed; return False if a stop is requested."""
        self._lease.beat()
        self._lease.check()
        if time.monotonic() >= self._measure_at:
            self._measure()
        return not self._stop.requested

    def _finish_all(self, limit: float) -> None:
        until = time.monotonic() + limit
        while self._under_way and time.monotonic() < until:
            batch = self._under_way[0]
            if self._publisher.settle(batch, lambda: time.monotonic() < until):
                self._finish_oldest()

    def _measure(self) -> None:
        """Count the backlog; tens of millions of rows take seconds, so the count may time out and the next one waits longer."""
        began = time.monotonic()
        try:
            depth = relay_store.depth(self._connection)
        except QueryCanceled:  # by the statement timeout: sending matters more than the figure
            return
        finally:
            now = time.monotonic()
            self._measure_at = now + max(_MEASURE_EVERY, _MEASURE_PAUSE * (now - began))
        metrics.PENDING.set(depth.pending)
        metrics.PARKED_NOW.set(depth.parked)
        metrics.OLDEST.set(max(0.0, (datetime.now(UTC) - depth.oldest).total_seconds()) if depth.oldest else 0)

    def _count(self, rows: list[relay_store.PendingRow]) -> None:
        for topic, number in Counter(row.event.topic for row in rows).items():
            metrics.RELAYED.labels(topic).inc(number)
        if (first := rows[0].event).replay_id is None:  # an event that is sent again does not show how late the relay is
            metrics.LATENESS.observe(max(0.0, (datetime.now(UTC) - time_of(first.id)).total_seconds()))

    def _ids_passed(self) -> list[int]:
        """The ids of the rows that are under way or held."""
        return [*self._held.ids, *(row.id for batch in self._under_way for row in batch.rows)]

    def _wake(self, _: Notify) -> None:
        self._woken = True


def pause_after(sent: int) -> float:
    """
    Return the seconds until the next read, so that after one that found a few rows the next one finds more.

    A batch costs Postgres and Kafka much the same whether it has 5 rows or 50. At 100 events a second a pause is 0.2 ms, so it
    is not felt; at 2,000 there are half as many batches.
    """
    return sent * _PAUSE_PER_ROW if sent < _ROWS_WITHOUT_PAUSE else 0.0


def _is_filled(rows: list[relay_store.PendingRow], room: relay_store.Room) -> bool:
    """Report whether more rows are likely to wait: the batch is full in rows, or more than half full in bytes."""
    return len(rows) == room.rows or sum(len(row.event.data) for row in rows) > room.size // 2


def _record_spans(rows: list[relay_store.PendingRow], began: int) -> None:
    """Record a span for each sampled event, from the hand-over to Kafka's acknowledgement of the batch."""
    for row in rows:
        if (caller := parse_traceparent(row.event.traceparent)) and caller.sampled:
            tracing.record(
                f"publish {row.event.topic}",
                caller.child(),
                began,
                parent=caller.span_id,
                kind="producer",
                messaging__system="kafka",
                messaging__operation__type="send",
                messaging__destination__name=row.event.topic,
                messaging__message__id=str(row.event.id),
                messaging__batch__message_count=len(rows),
            )
