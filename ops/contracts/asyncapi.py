"""
The published contract of subscribers: AsyncAPI 3.0 of every topic, made from the declared topics and event types.

The texts are those of the code: a topic's is beside its name, a message's is the docstring of its record.
`python -m ops.contracts.asyncapi` writes `asyncapi.json`; with `--check` it only compares the file with the code.
"""

import sys
from collections.abc import Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final, NamedTuple

import schemas
from ops.contracts.records import attributes_of, describe, publish, text_of
from schemas.envelope import JSON, SPECVERSION
from schemas.providers import providers
from schemas.registry import EVENT_TYPES
from schemas.rules import Json
from schemas.topics import TOPICS, Topic, webhooks_of
from schemas.topology import AGENTS

_SERVER: Final = "The brokers of the setting `KAFKA_BOOTSTRAP_SERVERS`."
_SENDERS: Final = {"gateway": "gateway", "relay": "relay"}

FILE: Final = Path(schemas.__file__).with_name("asyncapi.json")

_ABOUT: Final = """\
Tallyhook publishes CloudEvents 1.0 on Kafka, in binary mode: a record's value is the data, its headers are the attributes.

A record's key is the id of the event's aggregate, and order holds per key. Delivery is at least once: a repeated record has the
same `ce_id`.

The setting `KAFKA_TOPIC_PREFIX` adds a beginning to the name of each topic and consumer group. With the prefix `acme.`, the
channel `alert.events` is the topic `acme.alert.events`."""


class _Kind(NamedTuple):
    """A message: its topic, the record that reads it, and the values of its attributes."""

    name: str
    topic: Topic
    record: Any
    types: Json
    dataschema: str
    subject: str


def document() -> Json:
    kinds = list(_kinds())
    described = describe((kind.record for kind in kinds), "#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Tallyhook", "version": "1.0.0", "description": _ABOUT, "license": {"name": "Apache 2.0"}},
        "defaultContentType": JSON,
        "servers": {"kafka": {"host": "localhost:9092", "protocol": "kafka", "description": _SERVER}},
        "channels": {topic: _channel(topic, [kind for kind in kinds if kind.topic == topic]) for topic in TOPICS},
        "operations": {f"publish.{topic}": _publication(topic) for topic in TOPICS},
        "components": {
            "messages": {kind.name: _message(kind, described.references[kind.record]) for kind in kinds},
            "schemas": described.schemas,
        },
    }


def _kinds() -> list[_Kind]:
    ours = [
        _Kind(each.name, each.topic, each.record, {"const": each.name}, each.dataschema, each.aggregate)
        for each in EVENT_TYPES.values()
    ]
    theirs = [
        _Kind(
            message.name,
            webhooks_of(provider.name),
            message.record,
            _provider_types(provider.type_prefix, message.types),
            message.dataschema,
            "object that the event is about",
        )
        for provider in providers()
        for message in provider.messages
    ]
    return theirs + ours


def _provider_types(prefix: str, handled: Sequence[str]) -> Json:
    return {"type": "string", "pattern": f"^{prefix.replace('.', '[.]')}.+$", "examples": [prefix + each for each in handled]}


def _text_of(topic: Topic) -> str:
    """The description of a topic: of a provider's events by the provider, of other events beside the topic's declaration."""
    titles = {webhooks_of(provider.name): provider.title for provider in providers()}
    return f"Events of {titles[topic]}, byte for byte as sent." if topic in titles else attributes_of(Topic)[topic.name]


def _channel(topic: Topic, kinds: list[_Kind]) -> Json:
    spec = TOPICS[topic]
    kept = {"retention.ms": int(spec.retention.total_seconds() * 1000)}
    return {
        "address": str(topic),
        "description": _text_of(topic),
        "messages": {kind.name: {"$ref": f"#/components/messages/{kind.name}"} for kind in kinds},
        "bindings": {
            "kafka": {"topic": str(topic), "partitions": spec.partitions, "topicConfiguration": kept, "bindingVersion": "0.5.0"}
        },
    }


def _publication(topic: Topic) -> Json:
    """The sending of a topic's messages; the declared topology names the senders."""
    senders = [_SENDERS.get(agent.kind, f"{agent.name} worker") for agent in AGENTS.values() if topic in agent.produces]
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": _text_of(topic),
        "description": f"Published by the {' and the '.join(senders)}, through the outbox and the relay.",
    }


def _message(kind: _Kind, payload: Json) -> Json:
    summary, _, rest = cleandoc(kind.record.__doc__ or "").partition("\n")
    key = {"type": "string", "description": f"The id of the {kind.subject.replace('_', ' ')}."}
    return {
        "name": kind.name,
        "title": kind.name,
        "summary": summary,
        "description": " ".join(rest.split()),
        "contentType": JSON,
        "headers": _headers(kind),
        "payload": payload,
        "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}},
    }


def _headers(kind: _Kind) -> Json:
    """The attributes of CloudEvents under the names of Kafka's binary mode."""
    text, identifier = {"type": "string"}, {"type": "string", "format": "uuid"}
    needed: Json = {
        "ce_specversion": {"const": SPECVERSION, "description": "The version of CloudEvents."},
        "ce_id": {**identifier, "description": "The event's id, a UUIDv7; every copy of the event has the same."},
        "ce_source": {**text, "description": "The origin of the event, as a URI reference."},
        "ce_type": {**kind.types, "description": "The event's type."},
        "ce_subject": {**text, "description": f"The id of the {kind.subject.replace('_', ' ')}: the record's key."},
        "ce_time": {**text, "format": "date-time", "description": "When it happened, by the clock of the source; RFC 3339."},
        "ce_dataschema": {"const": kind.dataschema, "description": "The name and version of the schema of the data."},
        "content-type": {"const": JSON, "description": "The media type of the data."},
        "traceparent": {**text, "description": "The trace of the event, by W3C Trace Context."},
    }
    optional: Json = {
        "ce_causationid": {**identifier, "description": "The id of the event that caused this one; absent if none did."},
        "ce_replayid": {
            **identifier,
            "description": "The id of the replay of webhooks (`GET /v1/admin/replays/{replayId}`), retried dead letter "
            "(`GET /v1/admin/dead-letters/{id}`), replay of offsets or search for lost records that sent this record again; "
            "absent for the first sending.",
        },
        "ce_livemode": {"enum": ["true", "false"], "description": "`false` if no real money moves; absent if not stated."},
        "ce_account": {**text, "description": "The provider's account of the event; absent if the provider names none."},
        "ce_endpoint": {
            **text,
            "description": "The endpoint by which the webhook came, such as `eu`; absent for the plain path.",
        },
    }
    return {
        "type": "object",
        "description": "The attributes of CloudEvents.",
        "properties": {**needed, **optional},
        "required": list(needed),
    }


def main(arguments: list[str]) -> int:
    return publish(FILE, text_of(document()), arguments, remedy="python -m ops.contracts.asyncapi")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
