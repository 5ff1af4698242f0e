"""Follows one delivery: the answer, the tables through the admin API, and the records on Kafka, each with its time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from confluent_kafka import Consumer, TopicPartition
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ops.stack.errors import StackError
from schemas.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE: Final = 20.0  # seconds for the whole journey
_LOOK_EVERY: Final = 0.005
_HTTP_LIMIT: Final = 5


class Station(NamedTuple):
    """One stop: how long after sending it was seen, what it is, and where it can be found."""

    milliseconds: float
    what: str
    where: str


class Journey(NamedTuple):
    delivery_id: str
    trace_id: str
    stations: list[Station]


class _Seen(NamedTuple):
    milliseconds: float
    place: str


def follow(*, url: str, body: bytes, headers: dict[str, str], internal: str, admin_token: str, kafka: str) -> Journey:
    """
    Send the body and wait for everything that comes of it.

    Raises StackError where the gateway refuses it or something does not come in time.
    """
    with _listening(kafka) as consumer, requests.Session() as http:
        http.headers["X-Internal-Token"] = admin_token
        sent = time.monotonic()
        answer = http.post(url, data=body, headers=headers, timeout=_HTTP_LIMIT)
        answered = _since(sent)
        if not answer.ok:
            raise StackError(f"the gateway answered {answer.status_code}: {answer.text}")
        delivery_id = answer.json()["id"]
        stations = [Station(answered, f"answered {answer.status_code}", f"durable in Postgres: delivery {delivery_id}")]
        seen: dict[str, _Seen] = {}
        detail = _await_end(http, f"{internal}/v1/admin/webhooks/deliveries/{delivery_id}", consumer, seen, sent)
        done = _since(sent)
        journey = detail["journey"]
        events = (journey["event"], *journey["caused"])
        stations += [Station(seen[event["id"]].milliseconds, event["type"], seen[event["id"]].place) for event in events]
        stations += _effects(http, internal, journey, done)
        return Journey(delivery_id, answer.headers["X-Trace-Id"], sorted(stations))


def table_of(title: str, stations: list[Station]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("after", justify="right")
    table.add_column("what")
    table.add_column("where", overflow="fold")
    for station in stations:
        table.add_row(f"{station.milliseconds:.0f} ms", station.what, station.where)
    return table


@contextmanager
def _listening(kafka: str) -> Iterator[Consumer]:
    """A consumer that stands at the end of every topic, so that it sees what comes from now on."""
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": "tallyhook-demo", "enable.auto.commit": False, "fetch.wait.max.ms": 5}
    )
    try:
        known = consumer.list_topics(timeout=10).topics
        places = [TopicPartition(str(name), number) for name in TOPICS if name in known for number in known[name].partitions]
        for place in places:
            place.offset = consumer.get_watermark_offsets(place, timeout=10)[1]
        consumer.assign(places)
        consumer.poll(0)
        yield consumer
    finally:
        consumer.close()


def _await_end(http: requests.Session, url: str, consumer: Consumer, seen: dict[str, _Seen], sent: float) -> dict[str, Any]:
    """Until the event is handled and all it caused is on Kafka and was seen there."""
    while _since(sent) < _PATIENCE * 1000:
        _note(consumer, seen, sent)
        detail: dict[str, Any] = http.get(url, timeout=_HTTP_LIMIT).json()
        journey = detail["journey"]
        events = [journey["event"], *journey["caused"]]
        if journey["event"].get("consumedBy") and all(event["id"] in seen for event in events):
            return detail
    raise StackError(f"the event was stored but its journey did not end within {_PATIENCE:.0f} s; see ./dev status for logs")


def _note(consumer: Consumer, seen: dict[str, _Seen], sent: float) -> None:
    for message in consumer.consume(100, timeout=_LOOK_EVERY):
        if message.error() is None:
            event_id = dict(message.headers() or ()).get("ce_id", b"")
            name = event_id.decode() if isinstance(event_id, bytes) else str(event_id)
            place = f"Kafka: {message.topic()}, partition {message.partition()}, offset {message.offset()}"
            seen.setdefault(name, _Seen(_since(sent), place))


def _effects(http: requests.Session, internal: str, journey: dict[str, Any], done: float) -> Iterator[Station]:
    payment_id = journey["event"]["key"]
    payment = http.get(f"{internal}/v1/admin/payments/{payment_id}", timeout=_HTTP_LIMIT).json()
    amount = f"{payment['amount'] / 100:.2f} {payment['currency'].upper()}"
    where = f"payment {payment_id}: {payment['status']}, {amount}, reconciliation {payment['reconciliation']}"
    yield Station(done, f"effects of {', '.join(journey['event']['consumedBy'])}", where)


def _since(sent: float) -> float:
    return (time.monotonic() - sent) * 1000
