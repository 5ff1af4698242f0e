"""Between fetch and handler: order, a limit, and an end that nothing can reach over."""

from __future__ import annotations

import asyncio
from typing import Final

from outbox.offsets import Place
from streams.reading import Most, Reading
from streams.records import Record

ANY: Final = 1000


def most(records: int, size: int = ANY) -> Most:
    return Most(records, size)


def records(*offsets: int, partition: int = 0) -> list[Record]:
    return [Record("topic", partition, offset, None, b"{}", []) for offset in offsets]


async def stands_still(task: asyncio.Task[object]) -> bool:
    """Whether it waits, as far as the loop can take it without anybody else."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


async def test_records_come_out_in_the_order_of_their_fetches_and_no_more_than_asked_for() -> None:
    reading = Reading(most(10))
    await reading.put(records(1, 2, 3))
    await reading.put(records(4))
    assert await reading.take(most(2)) == records(1, 2)
    assert await reading.take(most(5)) == records(3, 4)


async def test_taking_waits_for_a_fetch() -> None:
    reading = Reading(most(10))
    taking = asyncio.create_task(reading.take(most(5)))
    assert await stands_still(taking)
    await reading.put(records(1))
    assert await taking == records(1)


async def test_a_fetch_that_brought_nothing_wakes_nobody() -> None:
    reading = Reading(most(10))
    taking = asyncio.create_task(reading.take(most(5)))
    await reading.put([])
    assert await stands_still(taking)
    taking.cancel()


async def test_putting_waits_while_the_limit_is_reached() -> None:
    reading = Reading(most(2))
    await reading.put(records(1, 2))
    putting = asyncio.create_task(reading.put(records(3)))
    assert await stands_still(putting)
    assert await reading.take(most(1)) == records(1)
    await putting
    assert await reading.take(most(5)) == records(2, 3)


def large(size: int) -> Record:
    return Record("topic", 0, size, None, bytes(size), [])


async def test_no_more_bytes_are_taken_than_asked_for_but_a_larger_record_alone() -> None:
    reading = Reading(most(10))
    await reading.put([large(60), large(40), large(1), large(500), large(2)])
    assert [await reading.take(most(10, size=100)) for _ in range(4)] == [
        [large(60), large(40)],
        [large(1)],
        [large(500)],
        [large(2)],
    ]


async def test_putting_waits_while_the_limit_of_bytes_is_reached() -> None:
    reading = Reading(most(10, size=100))
    await reading.put([large(99)])
    await reading.put([large(500)])
    putting = asyncio.create_task(reading.put([large(3)]))
    assert await stands_still(putting)
    assert await reading.take(most(1)) == [large(99)]
    assert await stands_still(putting)
    assert await reading.take(most(1)) == [large(500)]
    await putting
    assert await reading.take(most(1)) == [large(3)]


async def test_what_was_handled_is_the_offset_after_the_last_of_each_partition() -> None:
    reading = Reading(most(10))
    reading.note_handled([*records(1, 2), *records(7, partition=1)])
    reading.note_handled(records(3, 9))
    assert reading.handled == {Place("topic", 0): 10, Place("topic", 1): 8}


async def test_the_end_lets_go_of_everything_and_of_everyone() -> None:
    reading = Reading(most(1))
    await reading.put(records(1))
    putting = asyncio.create_task(reading.put(records(2)))
    assert await stands_still(putting)
    await reading.close()
    await putting
    await reading.put(records(3))
    assert await reading.take(most(5)) == []


async def test_the_end_wakes_who_waits_for_a_record() -> None:
    reading = Reading(most(1))
    taking = asyncio.create_task(reading.take(most(5)))
    assert await stands_still(taking)
    await reading.close()
    assert await taking == []
