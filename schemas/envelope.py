"""CloudEvents 1.0 in Kafka's binary mode: the attributes travel as headers, the record value is the data."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

import msgspec

from runtime.moments import written_time
from schemas.errors import Reason, SchemaError

SPECVERSION: Final = "1.0"
JSON: Final = "application/json"
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
"""The bounds, in UTC, within which Postgres, Python and RFC 3339 can hold a time in any offset, and compute with it."""

Headers = Sequence[tuple[str, bytes | None]]
"""The headers of a record that was read: Kafka allows one without a value. A header to write may be a text as well."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """
    One event: as it is appended, as the outbox keeps it and as a worker reads it.

    `id` is a UUIDv7 and stays the same through replays. `aggregate_id` is the record key: events of one key stay in order.
    `occurred_at` is when it happened at its source; `dataschema` names type and version of the data. `livemode` is false where no
    real money moves, `account` is the provider's account that it belongs to; both are None if the provider does not state them.
    `endpoint` is the provider's endpoint by which a webhook came, None for the plain path and for an event that is no webhook.
    The type and the version of the aggregate stay in the outbox: they are None in an event that was read from Kafka.
    """

    id: UUID
    topic: str
    aggregate_id: str
    source: str
    type: str
    dataschema: str
    occurred_at: datetime
    traceparent: str
    data: bytes
    aggregate_type: str | None = None
    aggregate_version: int | None = None
    causation_id: UUID | None = None
    replay_id: UUID | None = None
    livemode: bool | None = None
    account: str | None = None
    endpoint: str | None = None
    content_type: str = JSON


def to_headers(event: Event) -> list[tuple[str, str | bytes | None]]:
    """The Kafka headers of an event, in the order of `docs/contract.md`, "Events on Kafka"."""
    headers: list[tuple[str, str | bytes | None]] = [
        ("ce_id", str(event.id)),
        ("ce_source", event.source),
        ("ce_type", event.type),
        ("ce_subject", event.aggregate_id),
        ("ce_time", format_time(event.occurred_at)),
        ("ce_specversion", SPECVERSION),
        ("ce_dataschema", event.dataschema),
        ("content-type", event.content_type),
        ("traceparent", event.traceparent),
    ]
    if event.causation_id is not None:
        headers.append(("ce_causationid", str(event.causation_id)))
    if event.replay_id is not None:
        headers.append(("ce_replayid", str(event.replay_id)))
    if event.livemode is not None:
        headers.append(("ce_livemode", "true" if event.livemode else "false"))
    if event.account is not None:
        headers.append(("ce_account", event.account))
    if event.endpoint is not None:
        headers.append(("ce_endpoint", event.endpoint))
    return headers


def from_headers(topic: str, headers: Headers, data: bytes) -> Event:
    """
    The event of a record on this topic.

    Raises SchemaError with reason `envelope_incomplete` or `envelope_malformed`.
    """
    found = {name: value for name, value in headers if value is not None}
    try:
        if found["ce_specversion"].decode() != SPECVERSION:
            raise SchemaError(Reason.ENVELOPE_MALFORMED, "ce_specversion is not 1.0")
        return Event(
            id=UUID(found["ce_id"].decode()),
            topic=topic,
            aggregate_id=found["ce_subject"].decode(),
            source=found["ce_source"].decode(),
            type=found["ce_type"].decode(),
            dataschema=found["ce_dataschema"].decode(),
            occurred_at=_time(found["ce_time"].decode()),
            traceparent=found["traceparent"].decode(),
            data=data,
            causation_id=_optional_id(found.get("ce_causationid")),
            replay_id=_optional_id(found.get("ce_replayid")),
            livemode=_optional_flag(found.get("ce_livemode")),
            account=_optional_text(found.get("ce_account")),
            endpoint=_optional_text(found.get("ce_endpoint")),
            content_type=found["content-type"].decode(),
        )
    except KeyError as missing:
        raise SchemaError(Reason.ENVELOPE_INCOMPLETE, f"the header {missing.args[0]} is missing") from missing
    except ValueError as error:
        raise SchemaError(Reason.ENVELOPE_MALFORMED, str(error)) from error


@lru_cache(maxsize=1024)  # providers' times are whole seconds, so a backlog has the same ones again and again
def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with a Z, microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat()[:-6] + "Z"


def _time(text: str) -> datetime:
    moment = written_time(text)
    if moment.tzinfo is None:
        raise ValueError(f"ce_time {text!r} has no offset from UTC")
    return moment


def _optional_id(value: bytes | None) -> UUID | None:
    return None if value is None else UUID(value.decode())


def _optional_text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _optional_flag(value: bytes | None) -> bool | None:
    """CloudEvents writes a Boolean as `true` or `false`."""
    if value is None:
        return None
    if value not in {b"true", b"false"}:
        raise ValueError(f"{value!r} is neither true nor false")
    return value == b"true"
