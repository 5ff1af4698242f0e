"""
Sends a dead letter's record that is no event of the log back to its topic, byte for byte.

It travels as an event of its own, so that the relay orders, parks and deletes it like any other; only the publisher treats it
differently.
"""

from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from runtime.ids import new_id
from runtime.tracing import Trace
from schemas.envelope import Event

TYPE: Final = "dead-letter.resent"
_SCHEMA: Final = "urn:tallyhook:record.raw:1"


class RawRecord(msgspec.Struct, frozen=True):
    """Key, value and headers of a record; None is a missing value, which differs from an empty one."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


_decoder: Final = msgspec.json.Decoder(RawRecord)


def raw_record(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, str | None]]) -> RawRecord:
    """Return the record of a dead letter, whose headers are stored as base64."""
    return RawRecord(key, value, [(name, None if text is None else b64decode(text)) for name, text in headers])


def resend_of(record: RawRecord, topic: str, *, letter: UUID, event_id: UUID | None, now: datetime, trace: Trace) -> Event:
    """
    Return the event that carries the record of a letter back to the topic.

    It keeps its order among records with the same key if the key is valid UTF-8; otherwise the letter's id is the key. Its cause
    is the event in the record, so that a search for that event, or its erasure, finds this copy.
    """
    return Event(
        id=new_id(),
        topic=topic,
        aggregate_type="record",
        aggregate_id=_text(record.key) or str(letter),
        source=f"/dead-letters/{letter}",
        type=TYPE,
        dataschema=_SCHEMA,
        occurred_at=now,
        traceparent=trace.child().traceparent,
        causation_id=event_id,
        data=msgspec.json.encode(record),
    )


def record_of(data: bytes) -> RawRecord:
    """Return the record that such an event carries."""
    return _decoder.decode(data)


def _text(key: bytes | None) -> str | None:
    try:
        text = (key or b"").decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
