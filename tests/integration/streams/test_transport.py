"""Batches from a real Kafka: in order, and committed only once they are handled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import errors
from aiokafka.consumer.group_coordinator import GroupCoordinator

from outbox.offsets import Place
from streams.agents import BatchLimits
from tests.integration.streams.transporting import BATCH, FETCH, Bench, Handler, numbers_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.records import Record


async def test_every_record_is_handled_in_the_order_of_its_partition_and_then_committed(bench: Bench) -> None:
    handler = Handler.opened()
    bench.produce({0: 500, 1: 300})
    async with bench.worker(handler):
        await bench.until_committed({0: 500, 1: 300})
    assert numbers_of(handler.done, 0) == [*range(500)]
    assert numbers_of(handler.done, 1) == [*range(300)]
    assert all(len(batch) <= BATCH for batch in handler.begun)
    assert handler.assignments == 1


async def test_a_commit_that_is_refused_is_made_again_without_another_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = list[Any]()
    commit = GroupCoordinator.commit_offsets

    async def refuse_twice(self: GroupCoordinator, assignment: Any, offsets: Any) -> None:
        if len(refused) < 2:
            refused.append(offsets)
            raise errors.GroupAuthorizationFailedError
        await commit(self, assignment, offsets)

    monkeypatch.setattr(GroupCoordinator, "commit_offsets", refuse_twice)
    handler = Handler.opened()
    bench.produce({0: BATCH})
    async with bench.worker(handler):
        await until(lambda: len(refused) == 2)
        await bench.until_committed({0: BATCH})
        bench.produce({0: BATCH})
        await bench.until_committed({0: 2 * BATCH})
    assert len(handler.done) == 2 * BATCH


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_records_are_read_however_a_topic_or_its_producer_compresses_them(bench: Bench, compression: str) -> None:
    handler = Handler.opened()
    bench.produce({0: 100}, size=1000, compression=compression)
    async with bench.worker(handler):
        await bench.until_committed({0: 100})
    assert numbers_of(handler.done, 0) == [*range(100)]


async def test_unfinished_records_are_not_committed_and_are_read_again(bench: Bench) -> None:
    stuck = Handler()
    bench.produce({0: 500})
    async with bench.worker(stuck) as app:
        await until(lambda: bool(stuck.begun))
        await app.consumer.commit()
    assert await bench.committed() == {}
    handler = Handler.opened()
    async with bench.worker(handler):
        await bench.until_committed({0: 500})
    assert numbers_of(handler.done, 0) == [*range(500)]


async def test_records_in_memory_are_limited_in_bytes(bench: Bench) -> None:
    """Two batches, and the fetch that passes them: a share of each partition. Without the bound it would be all."""
    limits, held = BatchLimits(BATCH, 500_000), [0]

    class Weighing(Handler):
        async def handle(self, records: Sequence[Record]) -> None:
            held.append(app.consumer.in_hand.size)
            await asyncio.sleep(0.05)  # the records of the next fetches arrive meanwhile
            self.done += records

    handler = Weighing()
    bench.produce(dict.fromkeys(range(4), 40), size=250_000)
    async with bench.worker(handler, limits=limits) as app:
        await until(lambda: len(handler.done) == 160)
    assert limits.size < max(held) <= 2 * limits.size + 4 * FETCH


async def test_one_commit_takes_all_that_is_acknowledged(bench: Bench) -> None:
    handler = Handler.opened()
    async with bench.worker(handler, commit_interval=1000) as app:
        for number in (20, 40, 60, 80):
            bench.produce({0: 20})
            await until(lambda number=number: len(handler.done) == number and not app.consumer.in_hand.records)
            await app.consumer.commit()
            assert await bench.committed() == {Place(bench.topic, 0): number}


async def test_a_record_that_came_alone_first_does_not_stop_the_commits(bench: Bench) -> None:
    """Faust sees no gap after the offset 0, though a message covers many offsets."""
    handler = Handler.opened()
    async with bench.worker(handler):
        bench.produce({0: 1})
        await bench.until_committed({0: 1})
        bench.produce({0: 20})
        await bench.until_committed({0: 21})
        bench.produce({0: 1})
        await bench.until_committed({0: 22})
    assert numbers_of(handler.done, 0) == [0, *range(20), 0]
    assert handler.losses == []
