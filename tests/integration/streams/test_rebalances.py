"""Partitions that change hands: no record is skipped, and none is committed that its new owner has not handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outbox.offsets import Place
from streams import transport
from tests.integration.streams.transporting import TO_AND_FRO, Bench, Handler, Once, Slow, numbers_of
from tests.kafka import make_topic
from tests.waiting import until

if TYPE_CHECKING:
    import pytest


async def test_a_batch_that_is_done_after_its_partitions_went_commits_nothing_of_the_next_owner(bench: Bench) -> None:
    slow, quick = Handler(), Handler.opened()
    bench.produce(dict.fromkeys(range(4), 200))
    async with bench.worker(slow) as first:
        await until(lambda: bool(slow.begun))
        async with bench.worker(quick) as second:
            await until(lambda: len(first.consumer.assignment()) == len(second.consumer.assignment()) == 2)
            theirs = {place.partition for place in second.consumer.assignment()}
            await until(lambda: all(len(numbers_of(quick.done, partition)) == 200 for partition in theirs))
            before = await bench.committed()
            slow.gate.set()
            await bench.until_committed(dict.fromkeys(range(4), 200))
        assert {place.partition for place in before} <= theirs
    for partition in range(4):
        assert {*numbers_of(slow.done + quick.done, partition)} == {*range(200)}
    assert slow.losses == quick.losses == []


async def test_a_worker_that_leaves_hands_over_where_it_was(bench: Bench) -> None:
    handler, heir = Handler.opened(), Handler.opened()
    bench.produce({0: 100, 1: 100})
    async with bench.worker(handler):
        await until(lambda: len(handler.done) == 200)
    async with bench.worker(heir):
        bench.produce({0: 1})
        await until(lambda: bool(heir.done))
    assert [record.offset for record in heir.done] == [100]
    assert handler.losses == heir.losses == []


async def test_acknowledged_records_are_committed_before_their_partitions_are_revoked(bench: Bench) -> None:
    """Faust drops the acknowledgements of revoked partitions; their next owner would get the records again."""
    first, second = Handler.opened(), Handler.opened()
    bench.produce(dict.fromkeys(range(4), 20))
    async with bench.worker(first, commit_interval=1000) as old:
        await until(lambda: len(first.done) == 80 and not old.consumer.in_hand.records)
        assert await bench.committed() == {}
        async with bench.worker(second, commit_interval=1000) as new:
            await until(lambda: len(old.consumer.assignment()) == len(new.consumer.assignment()) == 2)
            assert await bench.committed() == {Place(bench.topic, partition): 20 for partition in range(4)}
    assert second.done == []


async def test_records_that_wait_during_a_rebalance_are_not_acknowledged(bench: Bench) -> None:
    """It is read again in the new generation; if it were acknowledged, a crash before that would lose it."""
    other = make_topic(bench.kafka, partitions=4)
    first, second = Once(), Handler()
    bench.produce(dict.fromkeys(range(4), 5))
    bench.produce(dict.fromkeys(range(4), 5), topic=other)
    async with bench.worker(first, other) as old:
        await until(lambda: len(first.begun) == 1 and old.consumer.in_hand.records == 40)
        async with bench.worker(second, other) as new:
            await until(lambda: len(old.consumer.assignment()) == len(new.consumer.assignment()) == 4)
            await until(lambda: old.consumer.in_hand.records == 20)
            first.gate.set()
            await until(lambda: len(first.begun) == 2)
            await old.consumer.commit()
            assert await bench.committed(other) == {}


async def test_a_partition_whose_position_is_being_requested_does_not_crash_the_worker(bench: Bench) -> None:
    """Faust looks at the positions every few seconds, and aiokafka has none between a rebalance and the leader's answer."""
    handler = Handler.opened()
    bench.produce({0: 1})
    async with bench.worker(handler) as app:
        await until(lambda: bool(handler.done))
        subscribed = app.consumer._thread._ensure_consumer()._subscription.subscription
        for place in subscribed.assignment.tps:
            subscribed.assignment.state_value(place)._position = None
        await app.consumer.verify_all_partitions_active()


async def test_a_waiting_fetch_skips_no_partition_that_was_assigned_since(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a fetch does not delay the end of a worker either."""
    monkeypatch.setattr(transport, "_FETCH", 1000.0)
    first, second = Handler.opened(), Handler.opened()
    async with bench.worker(first) as app:
        async with bench.worker(second) as other:
            await until(lambda: len(app.consumer.assignment()) == len(other.consumer.assignment()) == 2)
            bench.produce(dict.fromkeys(range(4), 1))
            await bench.until_committed(dict.fromkeys(range(4), 1))
            regained = [place.partition for place in other.consumer.assignment()]
        await until(lambda: len(app.consumer.assignment()) == 4)
        bench.produce(dict.fromkeys(regained, 1))
        await bench.until_committed(dict.fromkeys(range(4), 1) | dict.fromkeys(regained, 2))


async def test_no_record_is_skipped_while_workers_come_and_go(bench: Bench) -> None:
    """Few records at a time, so that a fetch nearly always waits for more when partitions are reassigned."""
    handlers = [Slow() for _ in range(6)]
    async with bench.trickling() as produced, bench.worker(handlers[0]):
        for handler in handlers[1:]:
            async with bench.worker(handler):
                await until(lambda handler=handler: bool(handler.done))
            before = len(handlers[0].done)
            await until(lambda before=before: len(handlers[0].done) > before)
    last = Handler.opened()
    async with bench.worker(last):
        await bench.until_committed(dict(produced))
    for partition, number in produced.items():
        seen = {n for handler in (*handlers, last) for n in numbers_of(handler.done, partition)}
        assert sorted({*range(number)} - seen) == []
    assert [loss for handler in (*handlers, last) for loss in handler.losses] == []


async def test_no_record_is_skipped_while_partitions_move_back_and_forth(bench: Bench) -> None:
    first, second = Slow(), Slow()
    async with bench.trickling() as produced, bench.worker(first):
        for _ in range(TO_AND_FRO // 2):
            before = len(first.done), len(second.done)
            async with bench.worker(second):
                await until(lambda before=before: len(second.done) > before[1])
            await until(lambda before=before: len(first.done) > before[0])
    last = Handler.opened()
    async with bench.worker(last):
        await bench.until_committed(dict(produced))
    for partition, number in produced.items():
        seen = {n for handler in (first, second, last) for n in numbers_of(handler.done, partition)}
        assert sorted({*range(number)} - seen) == []
    assert first.losses == second.losses == last.losses == []
