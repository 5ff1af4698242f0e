"""Records that Kafka has lost or deleted, and recreated topics: a loss is recorded, and the rest is read."""

from __future__ import annotations

import asyncio

from outbox.lost import Loss
from outbox.offsets import Place
from tests.integration.streams.transporting import Bench, Handler
from tests.kafka import delete_records, recreate_topic
from tests.waiting import until


async def test_records_that_kafka_no_more_has_are_a_loss_and_the_rest_is_read(bench: Bench) -> None:
    """Without a reader, and before the first commit."""
    first, second = Handler.opened(), Handler.opened()
    bench.produce({0: 100})
    async with bench.worker(first):
        await bench.until_committed({0: 100})
    bench.produce({0: 50, 1: 50})
    delete_records(bench.kafka, bench.topic, {0: 130, 1: 20})
    async with bench.worker(second):
        await bench.until_committed({0: 150, 1: 50})
    assert first.losses == []
    gone = [Loss("test", Place(bench.topic, 0), 100, 130), Loss("test", Place(bench.topic, 1), 0, 20)]
    assert sorted(second.losses) == gone
    assert [record.offset for record in second.done if record.partition == 0] == [*range(130, 150)]


async def test_records_that_go_while_they_are_read_are_a_loss(bench: Bench) -> None:
    slow = Handler()
    bench.produce({0: 100}, size=200_000)  # a fetch has some of them only
    async with bench.worker(slow):
        await until(lambda: bool(slow.begun))
        delete_records(bench.kafka, bench.topic, {0: 95})
        slow.gate.set()
        await bench.until_committed({0: 100})
    [loss] = slow.losses
    assert loss.until_offset == 95
    assert [record.offset for record in slow.done] == [*range(loss.from_offset), *range(95, 100)]


async def test_a_recreated_topic_is_read_from_its_beginning(bench: Bench) -> None:
    """Kafka deletes the committed offsets with the topic, so the worker sees no loss; the relay does, by the topic's id."""
    first, second = Handler.opened(), Handler.opened()
    bench.produce({0: 100})
    async with bench.worker(first):
        await bench.until_committed({0: 100})
    await asyncio.to_thread(recreate_topic, bench.kafka, bench.topic, 4)
    bench.produce({0: 30})
    async with bench.worker(second):
        await bench.until_committed({0: 30})
    assert [record.offset for record in second.done] == [*range(30)]


async def test_a_log_that_has_lost_its_end_is_read_from_its_beginning(bench: Bench) -> None:
    """The committed offset is past the end, and new records have offsets that were read before."""
    handler = Handler.opened()
    bench.produce({0: 100, 1: 10})
    bench.move({0: 1000})
    async with bench.worker(handler):
        await bench.until_committed({0: 100, 1: 10})
        bench.produce({0: 5})
        await bench.until_committed({0: 105, 1: 10})
    assert [record.offset for record in handler.done if record.partition == 0] == [*range(105)]
    assert handler.losses == [Loss("test", Place(bench.topic, 0), 0, 1000, offsets_reused=True)]
