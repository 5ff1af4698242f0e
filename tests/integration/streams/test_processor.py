"""The processor on a real Postgres: one effect per event, only the bad event set aside, nothing lost while a server is away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from runtime.database import make_pool
from runtime.ids import first_id_of, new_id
from runtime.tracing import new_trace
from schemas.envelope import Event, to_headers
from streams.errors import Poison, Transient
from streams.processor import Processor
from streams.records import Record
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from runtime.database import Pool


class Notes:
    """A worker whose effect is a row in a table; `fault` may raise for a row before it is written."""

    consumer = "notes"

    def __init__(self, fault: Callable[[Event], None] = lambda _: None) -> None:
        self.batches: list[list[str]] = []
        self._fault = fault

    async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
        self.batches.append([event.aggregate_id for event in events])
        for event in events:
            self._fault(event)
            await connection.execute("insert into notes (line, key) values (%s, %s)", (event.data.decode(), event.aggregate_id))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    with psycopg.connect(database_url) as connection:
        connection.execute("create table notes (n bigint generated always as identity, line text not null, key text)")
    made = make_pool(database_url, size=4, name="test")
    await made.open()
    yield made
    await made.close()


def processor(pool: Pool, handler: Notes, lanes: int = 2, lane: int = 1) -> Processor:
    return Processor(handler, pool, lanes=lanes, lane_size=lane, retry_max=timedelta(milliseconds=50))


def record(line: str, *, key: str = "k", offset: int = 0, event_id: UUID | None = None) -> Record:
    event = Event(
        id=event_id or new_id(), topic="notes", aggregate_id=key, source="/test", type="note.taken",
        occurred_at=datetime.now(UTC), dataschema="urn:test:note:1", traceparent=new_trace().traceparent, data=line.encode(),
    )  # fmt: skip
    headers = [(name, str(value).encode()) for name, value in to_headers(event)]
    return Record("notes", 0, offset, key.encode(), event.data, headers)


def rows(url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def lines(url: str) -> list[str]:
    return [row["line"] for row in rows(url, "select line from notes order by n")]


async def test_events_delivered_again_have_no_second_effect(pool: Pool, database_url: str) -> None:
    batch = [record(f"{n}", offset=n) for n in range(5)]
    handler = Notes()
    await processor(pool, handler).process(batch)
    await processor(pool, handler).process([*batch[2:], record("5", offset=5)])
    assert lines(database_url) == ["0", "1", "2", "3", "4", "5"]
    assert rows(database_url, "select count(*) from consumed where consumer = 'notes'") == [{"count": 6}]


async def test_an_event_twice_in_one_batch_has_one_effect(pool: Pool, database_url: str) -> None:
    twice = record("once")
    await processor(pool, Notes()).process([twice, twice._replace(offset=1)])
    assert lines(database_url) == ["once"]


async def test_events_of_a_key_keep_their_order_and_share_a_lane(pool: Pool, database_url: str) -> None:
    batch = [record(f"{n}", key=f"k{n % 7}", offset=n) for n in range(70)]
    await processor(pool, Notes(), lanes=4).process(batch)
    for key in range(7):
        found = [row["line"] for row in rows(database_url, f"select line from notes where key = 'k{key}' order by n")]
        assert found == [f"{n}" for n in range(key, 70, 7)]


@pytest.mark.parametrize(("records", "transactions"), [(1, 1), (19, 1), (20, 2), (200, 4)])
async def test_a_small_batch_has_fewer_lanes(pool: Pool, records: int, transactions: int) -> None:
    handler = Notes()
    batch = [record(f"{n}", key=f"k{n}", offset=n) for n in range(records)]
    await processor(pool, handler, lanes=4, lane=10).process(batch)
    assert len(handler.batches) == transactions


@pytest.mark.parametrize("names_the_culprit", [True, False])
async def test_only_the_bad_event_is_set_aside(pool: Pool, database_url: str, names_the_culprit: bool) -> None:
    batch = [record(f"{n}", offset=n) for n in range(9)]

    def fault(event: Event) -> None:
        if event.data == b"6":
            raise Poison("rule_broken", "six is not allowed", event.id if names_the_culprit else None)

    await processor(pool, Notes(fault), lanes=1).process(batch)
    assert lines(database_url) == [f"{n}" for n in range(9) if n != 6]
    [letter] = rows(database_url, "select * from dead_letters")
    assert (letter["consumer"], letter["reason"], letter["topic"], letter["offset"]) == ("notes", "rule_broken", "notes", 6)
    assert bytes(letter["value"]) == b"6"
    [emitted] = rows(database_url, "select type, causation_id from outbox where topic = 'dead-letters'")
    assert emitted == {"type": "dead-letter.recorded", "causation_id": letter["event_id"]}


async def test_a_bug_in_a_handler_affects_only_the_event_that_triggers_it(pool: Pool, database_url: str) -> None:
    def fault(event: Event) -> None:
        if event.data == b"2":
            raise KeyError("amount")

    await processor(pool, Notes(fault)).process([record(f"{n}", offset=n) for n in range(4)])
    assert lines(database_url) == ["0", "1", "3"]
    [letter] = rows(database_url, "select reason, detail from dead_letters")
    assert letter == {"reason": "handler_failed", "detail": "KeyError: 'amount'"}


@pytest.mark.parametrize("named_at_once", [False, True])
async def test_any_number_of_bad_events_in_one_lane_are_set_aside_one_by_one(
    pool: Pool, database_url: str, named_at_once: bool
) -> None:
    bad = {f"{n}".encode() for n in range(1000) if n % 5 < 3}

    class Checked(Notes):
        async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
            first, *others = [event.id for event in events if event.data in bad] or [None]
            if first:
                raise Poison("rule_broken", "not allowed", first, others if named_at_once else [])
            await super().handle(connection, events)

    handler = Checked()
    batch = [record(f"{n}", offset=n) for n in range(1000)]
    await processor(pool, handler, lanes=1).process([*batch, batch[4]._replace(offset=1000), batch[0]._replace(offset=1001)])
    assert lines(database_url) == [f"{n}" for n in range(1000) if n % 5 >= 3]
    letters = rows(database_url, 'select reason, "offset" from dead_letters order by 2')
    assert letters == [{"reason": "rule_broken", "offset": n} for n in range(1000) if n % 5 < 3]


async def test_bad_events_that_a_handler_names_at_once_are_not_sought_one_after_another(pool: Pool, database_url: str) -> None:
    calls: list[int] = []

    class Checked(Notes):
        async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
            calls.append(len(events))
            first, *others = [event.id for event in events if event.aggregate_id == "bad"] or [None]
            if first:
                raise Poison("rule_broken", "not allowed", first, others)
            await super().handle(connection, events)

    batch = [record(f"{n}", key="bad" if n in {3, 4, 8} else "good", offset=n) for n in range(12)]
    await processor(pool, Checked(), lanes=1).process(batch)
    assert calls == [12, 3, 1, 1, 3, 1, 3]
    assert [row["offset"] for row in rows(database_url, 'select "offset" from dead_letters order by id')] == [3, 4, 8]


class Unprintable(Exception):
    """An error whose text cannot be made."""

    def __str__(self) -> str:
        raise ValueError("no text for this one")


@pytest.mark.parametrize(
    ("raised", "detail"),
    [
        (Unprintable(), "Unprintable: (no text)"),
        (ValueError("half of a pair: \ud83d"), "ValueError: half of a pair: \\ud83d"),
        (ValueError("a \0 in it"), "ValueError: a \\x00 in it"),
        (Poison("rule_broken", "half of a pair: \ud83d"), "half of a pair: \\ud83d"),
    ],
)
async def test_an_error_whose_text_cannot_be_stored_affects_its_event_only(
    pool: Pool, database_url: str, raised: Exception, detail: str
) -> None:
    def fault(event: Event) -> None:
        if event.data == b"1":
            raise raised

    await processor(pool, Notes(fault)).process([record(f"{n}", offset=n) for n in range(3)])
    assert lines(database_url) == ["0", "2"]
    assert rows(database_url, "select detail from dead_letters") == [{"detail": detail}]


async def test_a_value_that_postgres_refuses_affects_its_event_only(pool: Pool, database_url: str) -> None:
    class Strict(Notes):
        async def handle(self, connection: AsyncConnection, events: Sequence[Event]) -> None:
            for event in events:
                await connection.execute("insert into notes (line) values (%s::int::text)", (event.data.decode(),))

    await processor(pool, Strict()).process([record("1"), record("two", offset=1), record("3", offset=2)])
    assert lines(database_url) == ["1", "3"]
    assert [row["reason"] for row in rows(database_url, "select reason from dead_letters")] == ["handler_failed"]


async def test_a_record_that_does_not_decode_is_set_aside_once_however_often_it_comes(pool: Pool, database_url: str) -> None:
    broken = Record("notes", 3, 17, None, b"\xff\x00", [("ce_id", b"nonsense")])
    for _ in range(2):
        await processor(pool, Notes()).process([broken, record("fine", offset=18)])
    letters = rows(database_url, 'select reason, partition, "offset", event_id, value from dead_letters')
    assert letters == [{"reason": "envelope_incomplete", "partition": 3, "offset": 17, "event_id": None, "value": b"\xff\x00"}]
    assert rows(database_url, "select count(*) from outbox where topic = 'dead-letters'") == [{"count": 1}]


async def test_an_event_set_aside_is_not_tried_again_when_it_is_repeated(pool: Pool, database_url: str) -> None:
    def fault(event: Event) -> None:
        raise Poison("rule_broken", "never", event.id)

    event = record("no")
    await processor(pool, Notes(fault)).process([event])
    patient = Notes()
    await processor(pool, patient).process([event])
    assert (patient.batches, lines(database_url)) == ([], [])


async def test_an_event_older_than_the_retention_is_set_aside_rather_than_doubled(pool: Pool, database_url: str) -> None:
    old = first_id_of(datetime.now(UTC) - timedelta(days=90)).int | (7 << 76) | (2 << 62)
    await processor(pool, Notes()).process([record("old", event_id=type(new_id())(int=old)), record("new", offset=1)])
    assert lines(database_url) == ["new"]
    assert [row["reason"] for row in rows(database_url, "select reason from dead_letters")] == ["event_outside_retention"]


async def test_the_processor_waits_for_a_server_that_is_away_and_sets_nothing_aside(pool: Pool, database_url: str) -> None:
    calls = 0

    def fault(_: Event) -> None:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise Transient("peer_away", "not yet")

    await processor(pool, Notes(fault)).process([record("patient")])
    assert calls == 4
    assert lines(database_url) == ["patient"]
    assert rows(database_url, "select * from dead_letters") == []


async def test_a_missing_table_stops_the_worker_instead_of_costing_events(pool: Pool, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("alter table notes rename to gone")
        working = asyncio.create_task(processor(pool, Notes()).process([record("later")]))
        done, _ = await asyncio.wait({working}, timeout=0.5)
        assert not done
        connection.execute("alter table gone rename to notes")
        await asyncio.wait_for(working, LIMIT)
    assert lines(database_url) == ["later"]
    assert rows(database_url, "select * from dead_letters") == []


async def test_connections_cut_in_the_middle_of_the_work_double_nothing(pool: Pool, database_url: str) -> None:
    async def cut() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for _ in range(10):
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tallyhook test'"
                )
                await asyncio.sleep(0.03)

    work = processor(pool, Notes(), lanes=3)
    cutting = asyncio.create_task(cut())
    for start in range(0, 200, 20):
        await work.process([record(f"{n}", key=f"k{n % 5}", offset=n) for n in range(start, start + 20)])
    await cutting
    assert sorted(lines(database_url), key=int) == [f"{n}" for n in range(200)]


async def test_two_workers_with_the_same_events_share_them_without_doubling(pool: Pool, database_url: str) -> None:
    """After a rebalance both may have the batch, in another order; one of them finds every event handled."""
    batch = [record(f"{n}", key=f"k{n % 3}", offset=n) for n in range(60)]
    await asyncio.gather(*(processor(pool, Notes()).process(part) for part in (batch, batch[::-1], batch)))
    assert sorted(lines(database_url), key=int) == [f"{n}" for n in range(60)]
