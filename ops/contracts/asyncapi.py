"""
What subscribers may rely on: AsyncAPI 3.0 of every topic, made from the topics and event types that are declared.

`python -m ops.contracts.asyncapi` writes `asyncapi.json`; with `--check` it only says whether the file is as it should be.
"""

import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import schemas
from ops.contracts.records import describe, publish, text_of
from schemas.razorpay import DATASCHEMA as RAZORPAY_SCHEMA
from schemas.razorpay import HANDLED_TYPES as RAZORPAY_TYPES
from schemas.razorpay import TYPE_PREFIX as RAZORPAY
from schemas.razorpay import RazorpayEvent
from schemas.registry import EVENT_TYPES
from schemas.rules import Json
from schemas.stripe import DATASCHEMA as STRIPE_SCHEMA
from schemas.stripe import HANDLED_TYPES as STRIPE_TYPES
from schemas.stripe import TYPE_PREFIX as STRIPE
from schemas.stripe import StripeEvent
from schemas.stripe_thin import DATASCHEMA as THIN_SCHEMA
from schemas.stripe_thin import ThinEvent
from schemas.topics import TOPICS, Topic

FILE: Final = Path(schemas.__file__).with_name("asyncapi.json")

_ABOUT: Final = """\
What Tallyhook publishes on Kafka: CloudEvents 1.0 in binary mode. A record's value is the data, its headers are the attributes.

A record's key is the id of the aggregate that it speaks of: order holds per key. A record may come again, as `ce_id` tells."""
_TEXTS: Final = {
    Topic.WEBHOOKS_STRIPE: "Events as Stripe sent them, byte for byte.",
    Topic.WEBHOOKS_RAZORPAY: "Events as Razorpay sent them, byte for byte.",
    Topic.BILLING_PAYMENTS: "What became of payments, whoever provides them.",
    Topic.BILLING_REFUNDS: "What became of refunds.",
    Topic.BILLING_DISPUTES: "What became of disputes.",
    Topic.BILLING_SUBSCRIPTIONS: "What became of subscriptions.",
    Topic.BILLING_INVOICES: "What became of invoices.",
    Topic.PARTNER_LEADS: "Leads of partners, from their arrival to the last attempt to deliver them.",
    Topic.PROPERTIES: "Documents of the index `properties`, and that they are gone.",
    Topic.CACHE_COMMANDS: "Commands to the cache worker.",
    Topic.NOTIFICATION_COMMANDS: "Commands to the notifications worker.",
    Topic.LEAD_COMMANDS: "Commands to the leads worker.",
    Topic.NOTIFICATIONS: "What became of notifications.",
    Topic.CONFIG: "Changes of the runtime configuration.",
    Topic.ALERTS: "Conditions that operators are told of.",
    Topic.DEAD_LETTERS: "Records that a worker could not handle, with the reason.",
}


class _Kind(NamedTuple):
    """A message: its name, where it goes, the record that reads it, and what its attributes say."""

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
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": "localhost:9092", "protocol": "kafka", "description": "`KAFKA_BOOTSTRAP_SERVERS`"}},
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
    providers = (
        ("com.stripe", Topic.WEBHOOKS_STRIPE, StripeEvent, STRIPE, STRIPE_TYPES, STRIPE_SCHEMA),
        ("com.stripe.thin", Topic.WEBHOOKS_STRIPE, ThinEvent, STRIPE, {"v1.invoice.paid"}, THIN_SCHEMA),
        ("com.razorpay", Topic.WEBHOOKS_RAZORPAY, RazorpayEvent, RAZORPAY, RAZORPAY_TYPES, RAZORPAY_SCHEMA),
    )
    theirs = [
        _Kind(
            f"{name}.event", topic, record, _provider_types(prefix, sorted(types)), dataschema, "object that the event speaks of"
        )
        for name, topic, record, prefix, types, dataschema in providers
    ]
    return theirs + ours


def _provider_types(prefix: str, handled: list[str]) -> Json:
    return {"type": "string", "pattern": f"^{prefix.replace('.', '[.]')}.+$", "examples": [prefix + each for each in handled]}


def _channel(topic: Topic, kinds: list[_Kind]) -> Json:
    spec = TOPICS[topic]
    kept = {"retention.ms": int(spec.retention.total_seconds() * 1000)}
    return {
        "address": str(topic),
        "description": _TEXTS[topic],
        "messages": {kind.name: {"$ref": f"#/components/messages/{kind.name}"} for kind in kinds},
        "bindings": {
            "kafka": {"topic": str(topic), "partitions": spec.partitions, "topicConfiguration": kept, "bindingVersion": "0.5.0"}
        },
    }


def _publication(topic: Topic) -> Json:
    return {"action": "send", "channel": {"$ref": f"#/channels/{topic}"}, "summary": _TEXTS[topic]}


def _message(kind: _Kind, payload: Json) -> Json:
    summary, _, rest = (kind.record.__doc__ or "").strip().partition("\n")
    key = {"type": "string", "description": f"The id of the {kind.subject.replace('_', ' ')}."}
    return {
        "name": kind.name,
        "title": kind.name,
        "summary": summary,
        **({"description": " ".join(rest.split())} if rest.strip() else {}),
        "contentType": "application/json",
        "headers": _headers(kind),
        "payload": payload,
        "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}},
    }


def _headers(kind: _Kind) -> Json:
    """The attributes of CloudEvents, as Kafka's binary mode names them."""
    text = {"type": "string"}
    needed: Json = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "format": "uuid", "description": "The event's UUIDv7; the same in every copy."},
        "ce_source": text,
        "ce_type": kind.types,
        "ce_subject": {**text, "description": f"The id of the {kind.subject.replace('_', ' ')}: the record's key."},
        "ce_time": {"type": "string", "format": "date-time", "description": "When it happened, by the clock of who says so."},
        "ce_dataschema": {"const": kind.dataschema},
        "content-type": {"const": "application/json"},
        "traceparent": {**text, "description": "W3C Trace Context."},
    }
    optional: Json = {
        "ce_causationid": {"type": "string", "format": "uuid", "description": "The event that led to it."},
        "ce_replayid": {
            "type": "string",
            "format": "uuid",
            "description": "Present where the event is sent again, or follows from one that is: the id of the replay of webhooks "
            "(`GET /v1/admin/replays/{replayId}`), of the dead letter that was retried (`GET /v1/admin/dead-letters/{id}`), of "
            "the replay of offsets, or of the search for what Kafka has lost.",
        },
        "ce_livemode": {"enum": ["true", "false"], "description": "`false` where no real money moves, if the provider says so."},
        "ce_account": {**text, "description": "The provider's account that it is of, where the provider names one."},
    }
    return {"type": "object", "properties": {**needed, **optional}, "required": list(needed)}


def main(arguments: list[str]) -> int:
    return publish(FILE, text_of(document()), arguments, remedy="python -m ops.contracts.asyncapi")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
