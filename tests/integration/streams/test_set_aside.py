"""Any record of a topic can be set aside, once, byte for byte; one that could not would block its partition for ever."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from outbox.erased import marker
from schemas.operations import DeadLetterRecorded
from schemas.registry import decode
from streams import store
from streams.errors import Poison, PoisonReason
from streams.records import Record
from tests.integration.streams.conftest import envelope
from tests.simulators import stripe

if TYPE_CHECKING:
    from schemas.envelope import Event
    from tests.integration.streams.conftest import Worker


@pytest.mark.parametrize(
    "record",
    [
        Record("webhooks.stripe", 0, 1, None, None, []),
        Record("webhooks.stripe", 0, 1, b"\xff\x00", b"\x00", [("ce_id", b"\xff\x00")]),
        Record("webhooks.stripe", 0, 1, b"", b"", [("without value", None), ("na\x00me", b"")]),
    ],
    ids=["nothing", "any bytes", "odd headers"],
)
async def test_any_record_is_kept_byte_for_byte_and_reported(worker: Worker, record: Record) -> None:
    poison = Poison("envelope_incomplete", "a detail with a NUL \x00")
    for expected in (True, False):
        async with worker.connection.transaction():
            assert await store.set_aside(worker.connection, "payments", record, None, poison) is expected
    [kept] = await worker.rows("select key, value, headers, detail from dead_letters")
    [recorded] = await worker.outbox("dead-letter.recorded")
    [sent] = await worker.rows("select dataschema, data from outbox where topic = 'dead-letters'")
    letter = decode(sent["dataschema"], sent["data"])
    assert isinstance(letter, DeadLetterRecorded)
    assert (kept["key"], kept["value"]) == (record.key, record.value)
    assert kept["detail"] == letter.detail == r"a detail with a NUL \x00"
    assert letter.headers == [
        (name.replace("\x00", ""), None if value is None else b64encode(value).decode()) for name, value in record.headers
    ]
    assert recorded["data"]["reason"] == "envelope_incomplete"
    assert [tuple(header) for header in kept["headers"]] == letter.headers


async def set_aside(worker: Worker, record: Record, event: Event | None = None) -> bool:
    async with worker.connection.transaction():
        return await store.set_aside(worker.connection, "payments", record, event, Poison(PoisonReason.HANDLER_FAILED, "it"))


@pytest.mark.parametrize("decodes", [False, True])
async def test_another_record_at_the_place_of_a_letter_becomes_a_letter_too(worker: Worker, decodes: bool) -> None:
    """Kafka counts from 0 again in a topic that was made again, and from an earlier number after a log has lost its end."""
    records = [Record("webhooks.stripe", 0, 7, b"key", value, []) for value in (b"one", b"two", b"three")]
    events = [envelope(stripe.Payment().succeeded(9)) if decodes else None for _ in records]
    for record, event in zip(records, events, strict=True):
        assert [await set_aside(worker, record, event) for _ in range(2)] == [True, False]
    letters = await worker.rows('select value, "offset", event_id, status from dead_letters order by id')
    assert [(row["value"], row["offset"]) for row in letters] == [(b"one", None), (b"two", None), (b"three", 7)]
    assert [row["event_id"] for row in letters] == [event and event.id for event in events]
    assert {row["status"] for row in letters} == {"open"}
    assert len(await worker.outbox("dead-letter.recorded")) == 3
    assert await worker.rows("select count(*) from consumed") == [{"count": 3 if decodes else 0}]


async def test_a_record_that_decodes_since_an_upgrade_has_one_letter(worker: Worker) -> None:
    record = Record("webhooks.stripe", 0, 7, b"key", b"one", [])
    assert [await set_aside(worker, record, event) for event in (None, envelope(stripe.Payment().succeeded(9)))] == [True, False]


@pytest.mark.parametrize("decodes", [False, True])
async def test_an_erased_letter_is_that_of_the_record_that_kafka_still_has(worker: Worker, decodes: bool) -> None:
    record, event = Record("webhooks.stripe", 0, 7, b"key", b"one", []), envelope(stripe.Payment().succeeded(9))
    assert await set_aside(worker, record, event if decodes else None)
    await worker.connection.execute(f"update dead_letters set value = {marker('value', 'id')}".replace("%%", "%").encode())
    assert not await set_aside(worker, record, event if decodes else None)
