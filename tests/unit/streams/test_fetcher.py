"""A second reading of a Kafka fetch, and the pause of an unreadable partition."""

from __future__ import annotations

import asyncio
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import CorruptRecordException, KafkaStorageError, NotLeaderForPartitionError, TopicAuthorizationFailedError
from faust.types import TP

from runtime.kafka import Cluster
from streams.client import Client
from streams.fetcher import Fetcher
from streams.unreadable import Unreadable
from tests.odd_records import Odd, batch_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PLACE: Final = TP("test", 0)
LONG: Final = 60.0
SHORT: Final = 0.01


class Answering(Client):
    """A client without brokers; the test answers its fetches."""

    answer: tuple[int, int, bytes] = (0, 0, b"")
    looks = 0

    async def send(self, *_: Any, **__: Any) -> Any:
        code, end, batches = self.answer
        self.fetched = SimpleNamespace(API_VERSION=4, topics=[(PLACE.topic, [(PLACE.partition, code, end, end, [], batches)])])
        return self.fetched

    def force_metadata_update(self) -> Any:
        self.looks += 1


class Bench:
    """A fetcher that has one partition, as aiokafka makes it."""

    def __init__(self) -> None:
        self.client: Any = AIOKafkaClient(bootstrap_servers="unused:9092")
        self.client.__class__ = Answering
        self.places = SubscriptionState()
        self.places.subscribe({PLACE.topic})
        self.made: Any = fetcher.Fetcher(self.client, self.places)
        self.made.__class__ = Fetcher
        self.made.unreadable = self.notes = Unreadable("test", Cluster("unused:9092"))
        self.made.rights = self.rights = SimpleNamespace(retry=LONG, suspect=lambda _: None)
        self.assign()

    @property
    def state(self) -> Any:
        return self.places.subscription.assignment.state_value(PLACE)

    def assign(self, position: int = 6) -> None:
        self.places.assign_from_subscribed({PLACE})
        self.places.seek(PLACE, position)

    async def fetch(self, code: int = 0, end: int = 12, batches: bytes = b"") -> None:
        self.client.answer = (code, end, batches)
        request = SimpleNamespace(topics=[(PLACE.topic, [(PLACE.partition, self.state.position, 1)])])
        await self.made._proc_fetch_request(self.places.subscription.assignment, 0, request)

    def take(self) -> list[int]:
        result = self.made._records.pop(PLACE)
        assert isinstance(result, fetcher.FetchResult)
        return [record.offset for record in result.getall()]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.made._fetch_task.cancel()  # the test fetches
    yield made
    await made.made.close()


def at(offset: int, batch: bytes) -> bytes:
    return struct.pack(">q", offset) + batch[8:]


def with_delta(batch: bytes, delta: int) -> bytes:
    """Return the batch as a disk or a network may spoil it: with the checksum of the original."""
    return batch[:23] + struct.pack(">i", delta) + batch[27:]


@pytest.mark.parametrize("delta", [-1, -7])
async def test_a_spoiled_batch_is_not_skipped_whatever_offsets_it_states(bench: Bench, delta: int) -> None:
    three = batch_of([Odd(b"value", odd=False)] * 3)
    spoiled = [at(0, three), at(3, three), with_delta(at(6, three), delta), at(9, three)]
    bench.assign(1)
    await bench.fetch(batches=b"".join(spoiled))
    assert bench.take() == [1, 2, 3, 4, 5]
    assert bench.state.position == 6
    assert "partition 0, offset 6: CorruptRecord" in bench.notes.detail
    assert bench.state.paused


@pytest.mark.parametrize("code", [2, -1, 4, KafkaStorageError.errno, 74])
async def test_a_partition_waits_after_every_error_that_aiokafka_does_not_answer_to(bench: Bench, code: int) -> None:
    await bench.fetch(code)
    assert bench.state.paused
    assert "partition 0, offset 6: " in bench.notes.detail
    assert f"error code {code}" in bench.notes.detail
    assert bench.client.looks == (code == KafkaStorageError.errno)


@pytest.mark.parametrize("code", [0, 1, 3, NotLeaderForPartitionError.errno, TopicAuthorizationFailedError.errno])
async def test_errors_that_aiokafka_handles_are_left_to_it(bench: Bench, code: int) -> None:
    await bench.fetch(code)
    assert not bench.state.paused
    assert not bench.notes.detail
    assert bench.client.looks == (code in {3, 6})


async def test_an_empty_answer_ends_a_wait_only_where_the_log_ends(bench: Bench) -> None:
    await bench.fetch(CorruptRecordException.errno)
    await bench.fetch(end=7)
    assert bench.notes.detail
    await bench.fetch(end=6)
    assert not bench.notes.detail


async def test_in_a_rebalance_no_fault_is_recorded_of_a_partition_that_another_may_get(bench: Bench) -> None:
    bench.places.begin_reassignment()
    await bench.fetch(CorruptRecordException.errno)
    assert not bench.notes.detail
    assert bench.state.paused  # otherwise the broker gets the same request again at once
    bench.assign()
    await bench.fetch(CorruptRecordException.errno)
    assert bench.notes.detail


def cannot_read(bench: Bench) -> None:
    bench.made._wait_at(PLACE, 6, CorruptRecordException())


def may_not_read(bench: Bench) -> None:
    bench.made._pause_refused(TopicAuthorizationFailedError(PLACE.topic))


PAUSES: Final = [(cannot_read, may_not_read), (may_not_read, cannot_read), (cannot_read, cannot_read)]


@pytest.mark.parametrize(("first", "second"), PAUSES)
@pytest.mark.parametrize("is_anew", [False, True])
async def test_the_end_of_one_pause_does_not_end_another(
    bench: Bench, first: Callable[[Bench], None], second: Callable[[Bench], None], *, is_anew: bool
) -> None:
    """Nor does it once the partition is reassigned: each rebalance would start one more chain of fetches and errors."""
    bench.rights.retry = SHORT
    first(bench)
    bench.rights.retry = LONG
    if is_anew:
        bench.assign()
    second(bench)
    await asyncio.sleep(5 * SHORT)
    assert bench.state.paused


async def test_a_pause_ends_by_itself_or_with_the_assignment(bench: Bench) -> None:
    bench.rights.retry = SHORT
    cannot_read(bench)
    await bench.state.resume_fut
    assert not bench.state.paused
    cannot_read(bench)
    bench.assign()
    bench.places.pause(PLACE)
    await asyncio.sleep(5 * SHORT)
    assert bench.state.paused  # another pause, which the end of the old one does not end


async def test_no_timer_outlives_the_fetcher(bench: Bench) -> None:
    cannot_read(bench)
    [timer] = bench.made._timers.values()
    await bench.made.close()
    assert timer.cancelled()
