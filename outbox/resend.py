"""
A record that goes back to its topic byte for byte: one that was set aside and is no event of the log.

It travels as an event of its own, so that the relay orders, parks and forgets it like any other; only what the publisher makes
of it differs.
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
    """What Kafka keeps of a record; no value is no value, not an empty one."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


_decoder: Final = msgspec.json.Decoder(RawRecord)


def raw_record(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, str | None]]) -> RawRecord:
    """The record of a dead letter, whose headers are kept as base64."""
    return RawRecord(key, value, [(name, None if text is None else b64decode(text)) for name, text in headers])


def resend_of(record: RawRecord, topic: str, *, letter: UUID, event_id: UUID | None, now: datetime, trace: Trace) -> Event:
    """
    The event that carries the record of a letter back to the topic; in order with others of its key, where the key is a text.

    It is caused by the event that the record holds, so that whoever looks for that event or erases it finds this copy.
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
    """The record that such an event carries."""
    return _decoder.decode(data)


def _text(key: bytes | None) -> str | None:
    try:
        text = (key or b"").decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
