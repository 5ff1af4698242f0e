"""Consecutive offsets are no loss, and every other step is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outbox.lost import Loss
from outbox.offsets import Place
from streams.agents import Continuity
from streams.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable


def records(partition: int, offsets: Iterable[int]) -> list[Record]:
    return [Record("t", partition, offset, None, b"", ()) for offset in offsets]


def test_records_that_continue_at_the_committed_offset_are_complete() -> None:
    follow = Continuity("c").follow
    assert follow([*records(0, range(5, 8)), *records(1, range(2)), *records(0, range(8, 9))], {Place("t", 0): 5}.get) == []
    assert follow(records(1, range(2, 4)) + records(0, [9]), lambda _: 0) == []


def test_a_jump_is_a_loss_at_the_start_in_a_batch_and_between_batches() -> None:
    follow = Continuity("c").follow
    at = Place("t", 0)
    assert follow(records(0, [7, 8, 12]), lambda _: 5) == [Loss("c", at, 5, 7), Loss("c", at, 9, 12)]
    assert follow(records(0, [20]), lambda _: None) == [Loss("c", at, 13, 20)]


def test_a_log_that_begins_again_is_a_loss_of_everything_before() -> None:
    follow = Continuity("c").follow
    assert follow(records(0, [0, 1]), lambda _: 100) == [Loss("c", Place("t", 0), 0, 100, offsets_reused=True)]
    assert follow(records(0, [2]), lambda _: 100) == []


def test_a_group_without_a_commit_begins_at_the_beginning() -> None:
    assert Continuity("c").follow(records(0, [3]), lambda _: None) == [Loss("c", Place("t", 0), 0, 3)]
