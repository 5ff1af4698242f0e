"""Any record of a topic can be set aside, once, byte for byte; one that could not would block its partition for ever."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from schemas.operations import DeadLetterRecorded
from schemas.registry import decode
from streams import store
from streams.errors import Poison
from streams.records import Record

if TYPE_CHECKING:
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
    assert kept["detail"] == letter.detail == "a detail with a NUL "
    assert letter.headers == [
        (name.replace("\x00", ""), None if value is None else b64encode(value).decode()) for name, value in record.headers
    ]
    assert recorded["data"]["reason"] == "envelope_incomplete"
    assert [tuple(header) for header in kept["headers"]] == letter.headers
