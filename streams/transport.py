"""
Faust's Kafka driver with chunks as messages, and the overrides of Faust's and aiokafka's names that this needs.

Faust passes each message through a conductor, a channel and a stream and keeps its acknowledgement, which costs more than the
handling of an event does. Here a message is a chunk: all that one fetch brought of one partition (`streams/agents.py`). The
consumer group, the streams, the acknowledgements and the commits are Faust's own, once a chunk.

The overrides prevent faust-streaming 0.15 and aiokafka 0.14 from losing records or stopping a worker. Each has its reason in its
docstring, and `tests/unit/streams/test_overridden_names.py` fails where a parent class has changed.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache, partial
from typing import Any, Final, cast

import faust
import structlog
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import Message
from mode import Service
from typing_extensions import override
from yarl import URL

from outbox.offsets import Offsets
from runtime.excerpts import described
from runtime.identity import work_as
from runtime.kafka import Cluster
from streams.agents import Chunks, Work, add_agents
from streams.client import Client
from streams.coordinator import guard, guard_rights
from streams.credentials import credentials_of
from streams.fetcher import Fetcher
from streams.in_hand import InHand
from streams.monitor import Monitor
from streams.rights import Rights
from streams.unreadable import Unreadable

log = structlog.get_logger()

_PATIENCE: Final = timedelta(seconds=2)
"""The longest wait for the end offsets of partitions; after it, those of the last response are used."""
_FETCH: Final = 5.0
"""Seconds that a fetch waits for records; those that come end it at once."""
_PAUSE: Final = 0.5  # seconds
# Seconds. By aiokafka's clock a worker that has no partitions, or waits for Postgres, does not poll: it would leave the group,
# and wait for a poll before it joins again, which only comes with partitions.
_FOR_EVER: Final = 1e9
_LOOK_EVERY: Final = 5.0  # seconds
_STANDSTILL: Final = 600.0
"""Seconds that a worker may be between two assignments. A rebalance takes seconds; some of Faust's failures in one are silent."""


class App(faust.App):
    """A Faust application with an agent for each of its topics."""

    consumer: "Consumer"
    monitor: Monitor

    def __init__(
        self, group: str, topics: Sequence[str], work: Work, *, kafka: Cluster, retry: float = _LOOK_EVERY, **conf: Any
    ) -> None:
        self.kafka: Final = kafka
        broker = [f"aiokafka://{server.strip()}" for server in kafka.servers.split(",")]
        super().__init__(
            kafka.named(group),
            broker=broker,
            broker_credentials=credentials_of(kafka),
            broker_max_poll_records=work.limits.records,
            broker_max_poll_interval=_FOR_EVER,
            stream_buffer_maxsize=4 * work.limits.records + 16,  # chunks; more than may be in hand
            ConsumerScheduler=partial(Chunks, kafka),
            Monitor=Monitor,
            **conf,
        )
        self.work: Final = work
        self.transport = Transport([URL(each) for each in broker], self)
        self.offsets: Final = _offsets(kafka)
        self.rights: Final = Rights(self, topics, retry)
        self.unreadable: Final = Unreadable(work.consumer, kafka)
        self.add_dependency(self.rights)
        add_agents(self, topics, work)

    def work_as_role(self) -> None:
        """Make this task, and those that it starts, log under the name of the role."""
        work_as(f"worker-{self.work.consumer}")

    @override
    async def on_first_start(self) -> None:
        self.work_as_role()
        await super().on_first_start()

    @override
    async def on_stop(self) -> None:
        self.work_as_role()
        await super().on_stop()


class Consumer(driver.Consumer):
    """Faust's consumer, which keeps what belongs to one assignment of partitions apart from what belongs to the next."""

    app: App

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.in_hand: Final = InHand(self.app.work.limits)
        self.committed_at_start: Mapping[TP, int | None] = {}
        """The committed offset of each partition when it was assigned; None where nothing was committed."""
        self._restarted_at: dict[TP, float] = {}

    @override
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return Thread(self, loop=self.loop, beacon=self.beacon)

    @override
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit first, since Faust drops the acknowledgements before its own commit; and stop even without partitions."""
        try:
            await self.commit()
        finally:
            self.stop_flow()
            self.in_hand.clear()
            self._restarted_at.clear()
            self.app.unreadable.clear()
        await super().on_partitions_revoked(revoked)

    @override
    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek partitions without a committed offset too: aiokafka leaves them at the position that a fetch has reached."""
        committed = await super().seek_to_committed()
        if fresh := [place for place, offset in committed.items() if not offset]:
            await self._thread.seek_to_beginning(*fresh)
        self.committed_at_start = committed
        return committed

    @override
    def ack(self, message: Message) -> bool:
        """Count an acknowledgement only in the generation of the message, and only if its log has not started again since."""
        if not self.is_current(message.generation_id):
            return False
        chunk: Any = message.value
        self.in_hand.remove(chunk)
        return chunk.fetched_at >= self._restarted_at.get(message.tp, 0.0) and super().ack(message)

    @override
    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """End the gap before the next message: Faust would count that message twice, and every second commit would do nothing."""
        await super()._add_gap(tp, offset_from, offset_to - 1)

    @override
    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        """Keep what Kafka did not commit for the next commit: Faust counts it as committed, and never tries again."""
        known = {place: (self._committed_offset[place], self._acked[place]) for place in offsets}
        if await super()._commit_offsets(offsets, start_new_transaction):
            return True
        for place, (committed, acked) in known.items():
            if self._acked.get(place) is acked:  # otherwise it was revoked meanwhile, or `_follow` has reset it
                self._committed_offset[place] = committed
                acked[:0] = range(committed or offsets[place] - 1, offsets[place])
                self._acked_index[place].update(acked)
        return False

    @override
    async def verify_all_partitions_active(self) -> None:
        """Do nothing: Faust's check only logs, and crashes the worker while the position of a partition is being requested."""

    def is_current(self, generation: int | None) -> bool:
        """Return true while the partitions that were assigned in that generation still belong to this process."""
        return self.flow_active and generation == self.app.consumer_generation_id

    def committed(self, place: TP) -> int | None:
        """Return the offset that this process has last committed, or read as committed."""
        return self._committed_offset.get(place)

    async def accept(self, generation: int | None, fetched: RecordMap) -> RecordMap:
        """
        Return the records of a fetch, or none if partitions were assigned since it began.

        Such a fetch may have records of either assignment, and the next read position may be beyond them: it is set back.
        """
        if not self.flow_active:
            await self.can_resume_flow.wait()
        if generation != self.app.consumer_generation_id:
            await self._seek_back()
            return {}
        for place, records in fetched.items():
            self._follow(place, records[0].offset)
            self.in_hand.add(records)
        return fetched

    async def refresh_topics(self) -> None:
        """Request the topics from Kafka now: those that have just become visible have partitions to assign."""
        await cast("Thread", self._thread).refresh_topics()

    async def _seek_back(self) -> None:
        generation = self.app.consumer_generation_id
        while self.is_current(generation) and self.assignment():
            try:
                await self.perform_seek()
            except Exception as error:  # noqa: BLE001  # Kafka's, or that of an assignment which is over
                log.warning("seek_postponed", reason="kafka_unavailable", error=described(error))
                await self.sleep(_PAUSE)
            else:
                return

    def _follow(self, place: TP, offset: int) -> None:
        """
        Reset Faust's state of a partition if its records do not follow those that were read.

        Faust drops all records below its read offset, which are all those of a log that has started again. It keeps every offset
        of a gap in memory, though retention may have deleted millions. And it sees no gap after the offset 0, so that it would
        never commit past that again. Records in hand are older, and are handled before the new ones are acknowledged.
        """
        read = self._read_offset[place]
        if read is None or 0 < read <= offset <= read + 1:
            return
        self._restarted_at[place] = time.monotonic()
        for known in (self._gap, self._acked, self._acked_index, self._read_offset, self._committed_offset):
            cast("dict[TP, Any]", known).pop(place, None)

    @Service.task
    async def _watch(self) -> None:
        moving = time.monotonic()
        while not self.should_stop:
            await self.sleep(_LOOK_EVERY)
            if self.flow_active or self.app.rights.missing:
                moving = time.monotonic()
            elif time.monotonic() - moving > _STANDSTILL:
                self.app.work.stuck()


class Thread(driver.AIOKafkaConsumerThread):
    """Faust's thread around aiokafka's consumer."""

    app: App
    consumer: Consumer

    @override
    async def on_start(self) -> None:
        """Guard the coordinator and replace the classes of the fetcher and the client: aiokafka makes them when it starts."""
        self.app.work_as_role()
        await super().on_start()
        consumer = self._ensure_consumer()
        coordinator, rights = consumer._coordinator, self.app.rights  # noqa: SLF001  # it has no public hook
        guard(coordinator, lambda: self.app.consumer_generation_id)
        guard_rights(coordinator, rights.suspect, rights.retry)
        fetcher = consumer._fetcher  # noqa: SLF001  # likewise
        fetcher.__class__ = Fetcher
        fetcher.limits, fetcher.rights, fetcher.unreadable = self.app.work.limits, rights, self.app.unreadable
        consumer._client.__class__ = Client  # noqa: SLF001  # likewise

    @override
    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> RecordMap:
        """Fetch when `InHand` has room, and only what belongs to the assignment in which the fetch began."""
        generation = self.app.consumer_generation_id
        await self.consumer.in_hand.room()
        return await self.consumer.accept(generation, await super().getmany(active_partitions, _FETCH))

    @override
    def close(self) -> None:
        """
        Do nothing: the end of this thread closes all of it.

        Faust calls this for a rebalance while it stops, and closes aiokafka from another thread, which closes no connection and
        does not leave the group: the partitions would wait until the session ends.
        """

    async def refresh_topics(self) -> None:
        """See `Consumer.refresh_topics`."""
        await self.call_thread(self._ensure_consumer()._client.force_metadata_update)  # noqa: SLF001  # likewise


class Transport(driver.Transport):
    """Faust's transport, with the consumer above."""

    Consumer = Consumer


@cache
def _offsets(kafka: Cluster) -> Offsets:
    """Return the one connection of this process for all of its roles."""
    return Offsets(kafka, _PATIENCE)
