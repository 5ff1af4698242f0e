"""The published AsyncAPI document of the topics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from ops.contracts import asyncapi
from ops.contracts.records import text_of
from schemas.registry import EVENT_TYPES
from schemas.topics import TOPICS, Topic

DOCUMENT: dict[str, Any] = msgspec.json.decode(text_of(asyncapi.document()))
GOLDEN = Path(__file__).parents[2] / "golden"


def test_its_file_is_as_the_code_has_it() -> None:
    assert asyncapi.FILE.read_bytes() == text_of(asyncapi.document()), "run `python -m ops.contracts.asyncapi`"


def test_every_topic_is_a_channel_with_its_partitions_and_its_retention() -> None:
    settings = {name: channel["bindings"]["kafka"] for name, channel in DOCUMENT["channels"].items()}
    assert {name: (each["partitions"], each["topicConfiguration"]["retention.ms"] / 1000) for name, each in settings.items()} == {
        str(topic): (spec.partitions, spec.retention.total_seconds()) for topic, spec in TOPICS.items()
    }
    assert all(channel["messages"] for channel in DOCUMENT["channels"].values())


def test_every_event_type_is_a_message_of_its_topic() -> None:
    topic_of = {name: topic for topic, channel in DOCUMENT["channels"].items() for name in channel["messages"]}
    ours = {kind.name: str(kind.topic) for kind in EVENT_TYPES.values()}
    theirs = {
        "com.stripe.event": Topic.WEBHOOKS_STRIPE,
        "com.stripe.thin.event": Topic.WEBHOOKS_STRIPE,
        "com.razorpay.event": Topic.WEBHOOKS_RAZORPAY,
    }
    assert topic_of == ours | theirs


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_golden_samples_fit_their_messages(name: str) -> None:
    payload = DOCUMENT["components"]["messages"][name]["payload"]
    for sample in (GOLDEN / name / f"v{EVENT_TYPES[name].version}").glob("*.json"):
        data = msgspec.json.decode(sample.read_bytes())
        jsonschema.validate(data, {**payload, "components": DOCUMENT["components"]}, format_checker=jsonschema.FormatChecker())
