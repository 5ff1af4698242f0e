"""A record with an invalid header name becomes a dead letter; an unreadable batch stops only its own partition."""

from __future__ import annotations

import asyncio
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from operations.offset_replay import log
from operations.offset_replay.log import OffsetRange
from outbox.errors import BrokerError
from outbox.offsets import Place
from runtime.database import make_pool
from runtime.ids import new_id
from runtime.kafka import Cluster
from runtime.tracing import new_trace
from schemas.envelope import Event, to_headers
from streams.pages import _state
from streams.processor import Processor
from streams.records import OddHeaders
from streams.unreadable import UNREADABLE
from tests.integration.streams.transporting import Bench, Handler, numbers_of
from tests.kafka import delete_records, make_topic
from tests.odd_records import CODECS, ODD_TEXT, Odd, batch_of, change_batch, sealed, write_batch
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from psycopg import AsyncConnection

    from tests.integration.streams.conftest import Worker
    from tests.servers import StartStack


def numbered(start: int, *odd: bool) -> list[Odd]:
    return [Odd(f"{start + n}".encode(), each) for n, each in enumerate(odd)]


@pytest.mark.parametrize("codec", CODECS)
async def test_a_name_of_a_header_that_is_not_utf_8_stops_nothing_and_is_spelled_out(bench: Bench, codec: str) -> None:
    handler = Handler.opened()
    bench.produce({0: 3, 1: 30})
    await write_batch(bench.kafka, bench.topic, batch_of(numbered(3, False, True, False, True, True), codec))
    await write_batch(bench.kafka, bench.topic, batch_of(numbered(8, True), codec))
    await write_batch(bench.kafka, bench.topic, batch_of([*numbered(9, *[False] * 60), *numbered(69, True)], codec))
    bench.produce({1: 3})
    async with bench.worker(handler):
        await bench.until_committed({0: 70, 1: 33})
    assert numbers_of(handler.done, 0) == [*range(70)]
    assert numbers_of(handler.done, 1) == [*range(30), *range(3)]
    odd = {record.offset: record.headers for record in handler.done if isinstance(record.headers, OddHeaders)}
    assert odd == dict.fromkeys((4, 6, 7, 8, 69), ((ODD_TEXT, b"\x00\xff"),))
    assert handler.losses == []


class Notes:
    """A worker that keeps the data of its events."""

    consumer = "notes"

    def __init__(self) -> None:
        self.data: list[bytes] = []

    async def handle(self, _: AsyncConnection, events: Sequence[Event]) -> None:
        self.data += [event.data for event in events]


async def test_such_a_record_is_one_dead_letter_and_its_neighbours_have_their_effects(
    bench: Bench, worker: Worker, database_url: str
) -> None:
    def record(number: int, *, odd: bool) -> Odd:
        event = Event(
            id=new_id(), topic=bench.topic, aggregate_id="one", source="test", type="test.noted", occurred_at=datetime.now(UTC),
            dataschema="urn:tallyhook:test:1", traceparent=new_trace().traceparent, data=b"%d" % number,
        )  # fmt: skip
        headers = [(name, value if isinstance(value, bytes) else str(value).encode()) for name, value in to_headers(event)]
        return Odd(event.data, odd, b"one", headers)

    await write_batch(bench.kafka, bench.topic, batch_of([record(n, odd=n == 2) for n in range(5)]))
    notes = Notes()
    async with make_pool(database_url, size=2, name="test") as pool:
        made = Processor(notes, pool, lanes=1, retry_max=timedelta(milliseconds=50))
        handler = Handler.opened()
        handler.handle = made.process  # type: ignore[method-assign]  # the real one
        for _ in range(2):  # the second finds nothing to do
            async with bench.worker(handler):
                await bench.until_committed({0: 5})
    assert notes.data == [b"0", b"1", b"3", b"4"]
    [letter] = await worker.rows("select * from dead_letters")
    assert (letter["reason"], letter["detail"]) == ("envelope_malformed", "the name of a header is not UTF-8")
    assert (letter["topic"], letter["partition"], letter["offset"]) == (bench.topic, 0, 2)
    assert (letter["key"], letter["value"]) == (b"one", b"2")
    assert letter["headers"][0] == [ODD_TEXT, "AP8="]
    assert {name for name, _ in letter["headers"]} >= {"ce_id", "ce_type", "traceparent"}


def with_length(length: int) -> Callable[[bytes], bytes]:
    return lambda batch: batch[:8] + struct.pack(">i", length) + batch[12:]


SPOILED: Final[dict[int, Callable[[bytes], bytes]]] = {
    1: lambda batch: batch[:-5] + b"!" + batch[-4:],  # its checksum is wrong
    2: lambda batch: sealed(batch[:21] + b"\0\x05" + batch[23:]),  # an unknown codec
    3: with_length(30),
    4: with_length(-5),
    5: with_length(0x7F0000),
}
"""The fault in the third batch of each partition."""
REPORTED: Final = {1, 2, 3, 4}
"""The partitions that a worker can report; for the fifth Kafka sends neither a byte nor an error."""


class Disk(NamedTuple):
    """The part of a broker's disk that has a topic, of which a test can spoil the third batch of each partition."""

    data: Path
    topic: str

    def spoil(self) -> dict[int, bytes]:
        """Spoil the batches; return the original ones."""
        return {partition: self.change(partition, change) for partition, change in SPOILED.items()}

    def mend(self, wholes: dict[int, bytes]) -> None:
        for partition, whole in wholes.items():
            self.change(partition, lambda _, whole=whole: whole)

    def change(self, partition: int, change: Callable[[bytes], bytes]) -> bytes:
        return change_batch(self.data / f"{self.topic}-{partition}", 6, change)


async def test_before_a_batch_that_cannot_be_read_its_partition_waits_alone(own_stack: StartStack, tmp_path: Path) -> None:
    """
    And goes on in order once the batch can be read; readers without a group end with an error meanwhile.

    Kafka may later answer a fetch of a waiting partition with no byte and no error; the partition keeps waiting.
    """
    server = own_stack("kafka").kafka
    bench = Bench(kafka := Cluster(server.url), make_topic(kafka, partitions=6), tmp_path)
    for partition in range(6):
        for start in range(0, 12, 3):
            await write_batch(kafka, bench.topic, batch_of(numbered(start, False, start == 3, False)), partition)
    disk, handler = Disk(server.folder / "data", bench.topic), Handler.opened()
    wholes = disk.spoil()
    with capture_logs() as logs:
        async with bench.worker(handler, retry=0.5) as app:
            await bench.until_committed({0: 12, **dict.fromkeys(SPOILED, 6)})
            await until(lambda: all(f"partition {n}, offset 6: " in app.unreadable.detail for n in REPORTED))
            assert gauge() == len(REPORTED)
            state = _state(app, joined=True)
            assert (state["ready"], state["reason"], state["partitions"]) == (False, UNREADABLE, 6)
            disk.change(3, SPOILED[5])
            for n in range(3):
                bench.produce({0: 3})  # which also ends a fetch that has no other records
                await bench.until_committed({0: 15 + 3 * n, **dict.fromkeys(SPOILED, 6)})
                await asyncio.sleep(0.6)  # longer than a pause, so that the third partition is in the next fetch
            assert "partition 3, offset 6: " in app.unreadable.detail
            for partition in (1, 2, 4):
                with pytest.raises(BrokerError):
                    _ = [*log.read(kafka, {Place(bench.topic, partition): OffsetRange(0, 12)})]
            wholes.pop(2)
            delete_records(kafka, bench.topic, {2: 12})
            disk.mend(wholes)
            await bench.until_committed({0: 21, **dict.fromkeys(wholes, 12), 2: 6})
            await until(lambda: not app.unreadable.detail)
            assert (app.unreadable.detail, gauge()) == ("", 0)
            assert _state(app, joined=True)["ready"]
    for partition in wholes:
        assert numbers_of(handler.done, partition) == [*range(12)]
    assert handler.losses == []
    reported = [entry for entry in logs if entry.get("reason") == UNREADABLE]
    assert {(entry["event"], entry["topic"], entry["offset"]) for entry in reported} == {("worker_waiting", bench.topic, 6)}
    assert {entry["partition"] for entry in reported} == REPORTED


def gauge() -> float | None:
    return REGISTRY.get_sample_value("tallyhook_worker_unreadable_partitions", {"worker": "test"})


async def test_other_readers_of_the_log_pass_over_no_record_either(bench: Bench) -> None:
    """This holds also after so many records that Python has specialised their code."""
    await write_batch(bench.kafka, bench.topic, batch_of(numbered(0, *[False, True] * 100)))
    found = [record for records in log.read(bench.kafka, {Place(bench.topic, 0): OffsetRange(0, 200)}) for record in records]
    assert [(record.offset, record.value) for record in found] == [(n, b"%d" % n) for n in range(200)]
    assert [isinstance(record.headers, OddHeaders) for record in found] == [False, True] * 100
