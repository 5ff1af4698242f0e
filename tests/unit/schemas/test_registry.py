"""Data of any version becomes the current record, or is refused with a reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas import registry
from schemas.billing import PaymentSucceeded
from schemas.errors import SchemaError
from schemas.registry import EVENT_TYPES, EventType, decode, encode, type_of
from schemas.topics import TOPICS, Topic

PAYMENT = PaymentSucceeded(
    provider="stripe",
    provider_payment_id="pi_1",
    status="succeeded",
    amount=1999,
    amount_refunded=0,
    currency="eur",
    version=2,
)


class Person(msgspec.Struct, frozen=True):
    """Version 3 of a made-up type."""

    full_name: str
    age: int


def _join_names(fields: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"{fields['first']} {fields['last']}", "age": fields["age"]}


def _join_as_full_name(fields: dict[str, Any]) -> dict[str, Any]:
    return {"full_name": fields["name"], "age": fields["age"]}


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> EventType:
    kind = EventType("person.met", Topic.ALERTS, Person, "person", (_join_names, _join_as_full_name))
    monkeypatch.setitem(registry.EVENT_TYPES, kind.name, kind)
    return kind


def reason_of(dataschema: str, data: bytes) -> str:
    with pytest.raises(SchemaError) as caught:
        decode(dataschema, data)
    return str(caught.value.reason)


def test_data_in_the_current_version_is_read_as_it_was_written() -> None:
    assert decode("urn:tallyhook:billing.payment.succeeded:1", encode(PAYMENT)) == PAYMENT


def test_data_is_written_in_camel_case_without_unknown_values() -> None:
    assert msgspec.json.decode(encode(PAYMENT)) == {
        "provider": "stripe",
        "providerPaymentId": "pi_1",
        "status": "succeeded",
        "amount": 1999,
        "amountRefunded": 0,
        "currency": "eur",
        "version": 2,
    }


def test_a_field_that_is_not_known_is_ignored() -> None:
    data = msgspec.json.decode(encode(PAYMENT)) | {"addedLater": 1}
    assert decode("urn:tallyhook:billing.payment.succeeded:1", msgspec.json.encode(data)) == PAYMENT


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (1, {"first": "Ada", "last": "Lovelace", "age": 36}),
        (2, {"name": "Ada Lovelace", "age": 36}),
        (3, {"full_name": "Ada Lovelace", "age": 36}),
    ],
)
def test_every_version_is_read_as_the_current_record(person: EventType, version: int, fields: dict[str, Any]) -> None:
    assert person.dataschema == "urn:tallyhook:person.met:3"
    assert decode(f"urn:tallyhook:person.met:{version}", msgspec.json.encode(fields)) == Person("Ada Lovelace", 36)


@pytest.mark.parametrize(
    "dataschema",
    [
        "",
        "billing.payment.succeeded:1",
        "urn:tallyhook:billing.payment.succeeded",
        "urn:tallyhook:billing.payment.succeeded:",
        "urn:tallyhook:billing.payment.succeeded:0",
        "urn:tallyhook:billing.payment.succeeded:01",
        "urn:tallyhook:billing.payment.succeeded:-1",
        "urn:tallyhook:billing.payment.succeeded:\u0661",
        "urn:tallyhook:billing.payment.succeeded:" + "9" * 5000,
        "urn:tallyhook:com.stripe.event:1",
        "urn:other:billing.payment.succeeded:1",
    ],
)
def test_a_schema_that_is_not_ours_is_unknown(dataschema: str) -> None:
    assert reason_of(dataschema, b"{}") == "schema_unknown"


def test_a_version_from_the_future_is_too_new() -> None:
    assert reason_of("urn:tallyhook:billing.payment.succeeded:2", b"{}") == "schema_too_new"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"first":"Ada"}',
        b'{"first":"\xff","last":"L","age":1}',
        b'{"first":"A","last":"L","age":"old"}',
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_data_that_does_not_fit_its_version_is_malformed(person: EventType, version: int, data: bytes) -> None:
    assert reason_of(f"urn:tallyhook:{person.name}:{version}", data) == "data_malformed"


def test_every_record_belongs_to_one_type() -> None:
    assert type_of(PAYMENT).name == "billing.payment.succeeded"
    assert len({kind.record for kind in EVENT_TYPES.values()}) == len(EVENT_TYPES)


def test_every_type_is_sent_to_a_topic_that_is_made() -> None:
    assert {kind.topic for kind in EVENT_TYPES.values()} <= TOPICS.keys()


def test_every_topic_has_partitions_and_an_end() -> None:
    assert TOPICS.keys() == set(Topic)
    assert all(spec.partitions >= 1 and spec.retention.total_seconds() > 0 for spec in TOPICS.values())


def test_data_that_is_nested_too_deep_is_malformed() -> None:
    doc = b'{"id":"p","version":1,"doc":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001
    assert reason_of("urn:tallyhook:property.upserted:1", doc) == "data_malformed"
