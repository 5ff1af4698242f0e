"""Batches made of chunks: order, limits, and the chunks that a batch completes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from aiokafka import ConsumerRecord
from faust.types import TP

from runtime.kafka import Cluster
from streams.agents import Batch, BatchLimits, Chunk, Chunks, Gathered
from streams.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

ANY: Final = 1000
PLACE: Final = TP("topic", 0)


def record(offset: int, size: int = 2) -> Record:
    return Record("topic", 0, offset, None, bytes(size), [])


def chunk(*offsets: int, size: int = 2, generation: int = 1) -> Any:
    """An event of a stream, with the fields that a batch reads."""
    value = Chunk(record(offset, size) for offset in offsets)
    return SimpleNamespace(value=value, message=SimpleNamespace(generation_id=generation))


def gathered(*chunks: Any, records: int = ANY, size: int = ANY) -> Gathered:
    made = Gathered(BatchLimits(records, size))
    for each in chunks:
        made.add(each)
    return made


def taken(made: Gathered) -> list[Batch]:
    found = []
    while made:
        found.append(made.take())
    return found


def offsets(batches: Sequence[Batch]) -> list[list[int]]:
    return [[record.offset for record in batch.records] for batch in batches]


def test_chunks_that_fit_are_one_batch_which_ends_them_all() -> None:
    first, second = chunk(1, 2, 3), chunk(4)
    [batch] = taken(gathered(first, second))
    assert (offsets([batch]), batch.chunks, batch.generation) == ([[1, 2, 3, 4]], [first, second], 1)


def test_a_chunk_ends_in_the_batch_that_has_its_last_record() -> None:
    first, second = chunk(1, 2, 3), chunk(4, 5)
    found = taken(gathered(first, second, records=2))
    assert offsets(found) == [[1, 2], [3, 4], [5]]
    assert [batch.chunks for batch in found] == [[], [first], [second]]


def test_several_chunks_may_end_in_one_batch_and_a_part_of_the_next_be_in_it() -> None:
    first, second, third = chunk(1), chunk(2), chunk(3, 4)
    found = taken(gathered(first, second, third, records=3))
    assert offsets(found) == [[1, 2, 3], [4]]
    assert [batch.chunks for batch in found] == [[first, second], [third]]


def test_later_chunks_follow_the_remaining_ones() -> None:
    first, second = chunk(1, 2, 3), chunk(4)
    made = gathered(first, records=2)
    assert offsets([made.take()]) == [[1, 2]]
    made.add(second)
    [batch] = taken(made)
    assert (offsets([batch]), batch.chunks) == ([[3, 4]], [first, second])


def test_a_batch_has_no_more_bytes_than_it_may_but_a_larger_record_alone() -> None:
    made = gathered(chunk(1, 2, size=60), chunk(3, size=300), chunk(4, size=10), size=100)
    assert made.is_full
    assert offsets(taken(made)) == [[1], [2], [3], [4]]


def test_records_without_a_value_have_no_bytes() -> None:
    made = Gathered(BatchLimits(ANY, 1))
    empty = chunk(1, 2)
    empty.value[:] = [each._replace(value=None) for each in empty.value]
    made.add(empty)
    assert not made.is_full
    assert offsets(taken(made)) == [[1, 2]]


def test_a_batch_is_full_by_records_or_by_bytes() -> None:
    assert not gathered(chunk(1, 2), records=3, size=5).is_full
    assert gathered(chunk(1, 2, 3), records=3).is_full
    assert gathered(chunk(1, 2, size=3), size=6).is_full


def test_a_new_generation_replaces_the_remains_of_an_earlier_one() -> None:
    made = gathered(chunk(1, 2, 3), records=2)
    made.take()
    again = chunk(1, 2, generation=2)
    made.add(again)
    [batch] = taken(made)
    assert (offsets([batch]), batch.chunks, batch.generation) == ([[1, 2]], [again], 2)


def fetched(offset: int, value: bytes | None = b"{}") -> ConsumerRecord:
    return ConsumerRecord("topic", 0, offset, 0, 0, b"key", value, None, 3, 2, (("ce_id", b"1"),))


def test_a_message_is_all_that_was_fetched_of_a_partition_and_has_its_last_offset() -> None:
    other = TP("other", 3)
    found = dict(Chunks(Cluster("kafka:9092")).iterate({PLACE: [fetched(7), fetched(8)], other: [fetched(1, None)]}))
    assert (found[PLACE].offset, found[other].offset) == (8, 1)
    assert found[PLACE].value == [Record("topic", 0, offset, b"key", b"{}", (("ce_id", b"1"),)) for offset in (7, 8)]
    assert found[other].value[0].value is None
