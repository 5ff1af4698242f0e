"""A Kafka record before it is decoded, and the event that it is decoded into."""

from operator import methodcaller
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from runtime.ids import is_time_ordered
from schemas import registry
from schemas.envelope import EARLIEST, LATEST, Event, Headers, from_headers
from schemas.errors import Reason as SchemaReason
from schemas.errors import SchemaError
from streams.errors import Poison, PoisonReason

_HEADERS: Final = methodcaller("headers")
"""
confluent_kafka's `Message.headers()`, for a record of any client.

For a name that is not UTF-8 it sets an error and returns a list with holes as well. Python notices that in a call from C, but not
in a call that it has specialised for speed: that one returns the list, and reading the list ends the process with a memory fault.
"""
Data = TypeVar("Data", bound=msgspec.Struct)


class Record(NamedTuple):
    """One record of a topic, not decoded."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class OddHeaders(tuple[tuple[str, bytes | None], ...]):
    """
    Headers with a name that is not UTF-8, which librdkafka's clients and others can write.

    Such bytes are escaped in hexadecimal. It is empty if the client that read the record then returns none of its headers.
    """

    __slots__ = ()


def decode(record: Record) -> Event:
    """
    Decode the event in a record.

    Raises Poison with reason `value_missing`, `envelope_incomplete`, `envelope_malformed` or `event_id_unordered`.
    """
    if record.value is None:
        raise Poison(PoisonReason.VALUE_MISSING, "the record has no value")
    if isinstance(record.headers, OddHeaders):
        raise Poison(SchemaReason.ENVELOPE_MALFORMED, "the name of a header is not UTF-8")
    try:
        event = from_headers(record.topic, record.headers, record.value)
    except SchemaError as error:
        raise Poison(error.reason, str(error)) from error
    if (fault := _fault_of(event)) is not None:
        raise Poison(SchemaReason.ENVELOPE_MALFORMED, fault)
    if not is_time_ordered(event.id):
        raise Poison(PoisonReason.EVENT_ID_UNORDERED, f"{event.id} is not a UUIDv7, so no daily partition can hold its mark")
    return event


def headers_of(message: Any) -> Headers:
    """Return the headers of a record that confluent_kafka has read; empty OddHeaders if one of their names is not UTF-8."""
    try:
        found: Headers | None = _HEADERS(message)
    except (SystemError, UnicodeDecodeError):
        return OddHeaders()
    return found or []


def id_of(record: Record) -> UUID | None:
    """The id of the event in a record; None where it holds no event."""
    try:
        return decode(record).id
    except Poison:
        return None


def _fault_of(event: Event) -> str | None:
    """Return why no table can hold the headers' values, or None if one can."""
    if not EARLIEST <= event.occurred_at <= LATEST:
        return f"ce_time is not between the years {EARLIEST.year} and {LATEST.year} in UTC"
    words = (event.source, event.type, event.aggregate_id, event.dataschema, event.traceparent, event.content_type)
    held = (*words, event.account or "", event.endpoint or "")
    return "a header holds a NUL, which Postgres cannot store" if any("\0" in word for word in held) else None


def data_of(event: Event, *kinds: type[Data]) -> Data:
    """
    Decode the data of one of our own events, which must be one of these record types.

    Raises Poison, with the event's id: the reasons of `registry.decode`, and `event_unexpected` for any other type.
    """
    try:
        data = registry.decode(event.dataschema, event.data)
    except SchemaError as error:
        raise Poison(error.reason, str(error), event.id) from error
    if not isinstance(data, kinds):
        raise Poison(PoisonReason.EVENT_UNEXPECTED, f"{event.dataschema} is not for this worker", event.id)
    return data
