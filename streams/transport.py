"""
Faust's Kafka driver, which here hands over what a fetch brought in one piece, and commits what has been handled.

Faust passes every message through a conductor, a channel and a stream and remembers its acknowledgement, and it commits past
unfinished messages when acknowledgements come out of order, when an agent raises, and with `concurrency` above 1. So its consumer
keeps the group, the partitions, the heartbeats and the timer of the commits, and the records take a shorter way: one batch is
handled while the next one is fetched, and an offset is committed when everything below it is done.

The driver also lets a fetch wait 1.5 s for new records, and aiokafka has one fetch under way per broker: while a long poll over
the partitions that are read to their end hangs there, nothing is fetched for the others. A worker with a backlog starved for half
a second at a time; with a wait of 20 ms it handled 5,900 instead of 3,200 events a second.

What is held is bounded in bytes too: a batch in hand, one that waits, and what aiokafka has fetched ahead, which is one fetch
size for each partition.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import faust
import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from mode import Service

from outbox.losses import Loss
from outbox.offsets import Place
from runtime.excerpts import described
from streams.continuity import Continuity
from streams.coordinator import guard
from streams.reading import Most, Reading
from streams.records import Record

log = structlog.get_logger()

FETCH_MAX_WAIT_MS: Final = 20
_FETCH_LIMIT: Final = 1.0  # seconds
_PAUSE: Final = 0.5  # seconds
# Seconds. By aiokafka's clock a worker that has no partitions, or waits for Postgres, does not poll: it would leave the group,
# and wait for a poll before it joins again, which only comes with partitions.
_FOR_EVER: Final = 1e9
_LOOK_EVERY: Final = 5.0  # seconds
_STANDSTILL: Final = 600.0
"""Seconds that a worker may be between two assignments. A rebalance takes seconds; some of Faust's failures in one are silent."""


class Batches(NamedTuple):
    """Where the records of a consumer go, at most so many at a time."""

    consumer: str
    most: Most
    handle: Callable[[Sequence[Record]], Awaitable[None]]
    """Returns when every record has had its effects, durably; must not raise."""
    lost: Callable[[Sequence[Loss]], Awaitable[None]]
    """Records that Kafka has no more were to come before those that are handled next; returns when that is written down."""
    reassigned: Callable[[], None]
    """Partitions were given out; called before their records come."""
    stuck: Callable[[], None]
    """A rebalance does not end: this process will not read again."""


class App(faust.App):
    """A Faust application without agents, whose records go to `batches`."""

    def __init__(self, group: str, topics: Sequence[str], batches: Batches, **conf: Any) -> None:
        super().__init__(group, broker_max_poll_records=batches.most.records, broker_max_poll_interval=_FOR_EVER, **conf)
        self.batches: Final = batches
        self.topics.add(self.topic(*topics, key_serializer="raw", value_serializer="raw"))

    def _new_transport(self) -> Transport:
        return _Transport(self.conf.broker_consumer, self)


class _Thread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001  # the driver passes a constant; read when it starts
        consumer._fetch_max_bytes = cast("App", self.app).batches.most.size  # noqa: SLF001  # the driver passes none: 50 MB
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        guard(self._ensure_consumer()._coordinator, lambda: self.app.consumer_generation_id)  # noqa: SLF001  # set as it starts


class _Consumer(Consumer):
    """Overrides what Faust's consumer does with fetched messages and with acknowledgements, and nothing of the group."""

    app: App

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reading = self._followed = Reading(self.app.batches.most)
        self._continuity = Continuity(self.app.batches.consumer)

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        try:
            await self.commit()  # so that whoever gets them next repeats as little as possible
        finally:
            self.stop_flow()
            over, self._reading = self._reading, Reading(self.app.batches.most)
            await over.close()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.app.batches.reassigned()
        await super().on_partitions_assigned(assigned, generation_id)

    async def _drain_messages(self, fetcher: Any) -> None:
        """
        Fetch until the fetcher is stopped; Faust seeks to what is committed before the flow of an assignment begins.

        A fetch that was under way while partitions were given out anew may have brought records of either assignment. They are
        not used, but the place to read on from may be behind them: it is set back.
        """
        astray = False
        try:
            while not (self.should_stop or fetcher.should_stop):
                reading = self._reading
                fetched, _ = await self._wait_next_records(_FETCH_LIMIT)
                astray = astray or reading is not self._reading
                if astray:
                    astray = not await self._seek_back()
                else:
                    await reading.put([*_records(fetched or {})])
        except (asyncio.CancelledError, ConsumerStoppedError):
            if not self.app.should_stop:
                raise

    async def _seek_back(self) -> bool:
        """Let the fetches of this assignment begin anew at what is committed; False where that has to be tried again."""
        reading = self._reading
        if not self.flow_active:
            return False
        if not self.assignment():
            return True
        try:
            committed = await self.seek_to_committed()
            if fresh := [place for place, offset in committed.items() if not offset]:
                await self._thread.seek_to_beginning(*fresh)
        except Exception as error:  # noqa: BLE001  # Kafka's, or that of an assignment which is over: go on from nowhere else
            log.warning("seek_postponed", reason="kafka_unavailable", error=described(error))
            await self.sleep(_PAUSE)
            return False
        return reading is self._reading

    @Service.task
    async def _handle_batches(self) -> None:
        while not self.should_stop:
            reading = self._reading
            if records := await reading.take(self.app.batches.most):
                if losses := self._losses(reading, records):
                    await self.app.batches.lost(losses)
                await self.app.batches.handle(records)
                reading.note_handled(records)

    def _losses(self, reading: Reading, records: Sequence[Record]) -> list[Loss]:
        """What is missing before these records, or between them; called before anything else may give partitions away."""
        if self._followed is not reading:
            self._followed, self._continuity = reading, Continuity(self.app.batches.consumer)
        return self._continuity.follow(records, lambda place: self._committed_offset[TP(*place)])

    @Service.task
    async def _watch(self) -> None:
        moving = time.monotonic()
        while not self.should_stop:
            await self.sleep(_LOOK_EVERY)
            if self.flow_active:
                moving = time.monotonic()
            elif time.monotonic() - moving > _STANDSTILL:
                self.app.batches.stuck()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:  # noqa: ARG002  # Faust asks for all of them
        return (TP(*place) for place in self._reading.handled)

    def _new_offset(self, tp: TP) -> int | None:
        return self._reading.handled.get(Place(*tp))

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return offset != self._committed_offset[tp]  # also back: a partition may have lost its end


class _Transport(Transport):
    Consumer = _Consumer


def _records(fetched: Mapping[TP, Sequence[ConsumerRecord]]) -> Iterator[Record]:
    for found in fetched.values():
        for each in found:
            yield Record(each.topic, each.partition, each.offset, each.key, each.value, each.headers)
