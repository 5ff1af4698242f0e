"""Follows one delivery: the answer, the tables through the admin API, and the records on Kafka, each with its time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import requests
from confluent_kafka import Consumer, TopicPartition

from ops.dev.lines import wrapped
from ops.stack.errors import Reason, StackError
from schemas.topics import TOPICS
from streams.records import headers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.kafka import Cluster

_PATIENCE: Final = 20.0  # seconds for the whole journey
_LOOK_EVERY: Final = 0.005
_HTTP_LIMIT: Final = 5


class Station(NamedTuple):
    """One station: the milliseconds from sending to seeing it, its name, and the place where it can be found."""

    milliseconds: float
    what: str
    where: str


class Journey(NamedTuple):
    """One delivery with all its consequences; `key` is the id of its aggregate."""

    delivery_id: str
    key: str
    stations: list[Station]

    def with_last(self, what: str, *where: str) -> Journey:
        """Return the same journey with the state at its end."""
        last = max(station.milliseconds for station in self.stations)
        return self._replace(stations=[*self.stations, *(Station(last, what, each) for each in where)])


class Gateway(NamedTuple):
    """The addresses of a running stack."""

    public: str
    internal: str
    admin_token: str
    kafka: Cluster

    def delivery_url(self, delivery_id: str) -> str:
        return f"{self.internal}/v1/admin/webhooks/deliveries/{delivery_id}"


class _Seen(NamedTuple):
    milliseconds: float
    place: str


def follow(gateway: Gateway, path: str, body: bytes, headers: dict[str, str], awaited: set[str]) -> Journey:
    """
    Send the body and wait until it is handled and events of all awaited types that it caused are on Kafka.

    Raises StackError if the gateway refuses it or an event does not come in time.
    """
    with _listening(gateway.kafka) as consumer, requests.Session() as http:
        http.headers["X-Internal-Token"] = gateway.admin_token
        sent = time.monotonic()
        url = gateway.public + path
        answer = http.post(url, data=body, headers={"Content-Type": "application/json"} | headers, timeout=_HTTP_LIMIT)
        answered = _since(sent)
        check_answer(answer)
        delivery_id = answer.json()["id"]
        watch = _Watch(consumer, sent, {})
        events = _await_events(http, gateway.delivery_url(delivery_id), awaited, watch)
        stations = [Station(answered, f"answered {answer.status_code}", f"durable in Postgres: delivery {delivery_id}")]
        stations += [
            Station(watch.seen[event["id"]].milliseconds, event["type"], watch.seen[event["id"]].place) for event in events
        ]
        return Journey(delivery_id, events[0]["key"], sorted(stations))


def check_answer(answer: requests.Response) -> requests.Response:
    """Return the answer. Raises StackError with a remedy if it is a refusal."""
    if answer.ok:
        return answer
    act = ""
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        act = "\nThe running stack has other secrets than .env: ./dev down, then ./dev up --detach, starts it with these."
    raise StackError(
        Reason.STACK_FAILED, f"{answer.request.method} {answer.url} answered {answer.status_code}: {answer.text}{act}"
    )


def text_of(title: str, stations: list[Station]) -> str:
    """Format an entry in 80 columns: time and event, and its place below; every id and address is whole."""
    lines = [title]
    for station in stations:
        lines += [f"{station.milliseconds:>8.0f} ms  {station.what}", wrapped(station.where, " " * 13)]
    return "\n".join(lines)


@contextmanager
def _listening(kafka: Cluster) -> Iterator[Consumer]:
    """Return a consumer at the end of every topic, so that it sees all later records."""
    consumer = Consumer(
        kafka.client | {"group.id": kafka.named("tallyhook-demo"), "enable.auto.commit": False, "fetch.wait.max.ms": 5}
    )
    try:
        known = consumer.list_topics(timeout=10).topics
        names = [name for topic in TOPICS if (name := kafka.named(topic)) in known]
        places = [TopicPartition(name, number) for name in names for number in known[name].partitions]
        for place in places:
            place.offset = consumer.get_watermark_offsets(place, timeout=10)[1]
        consumer.assign(places)
        consumer.poll(0)
        yield consumer
    finally:
        consumer.close()


class _Watch(NamedTuple):
    """The consumer, the time of its start, and the records that it has seen, by event id."""

    consumer: Consumer
    sent: float
    seen: dict[str, _Seen]


def _await_events(http: requests.Session, url: str, awaited: set[str], watch: _Watch) -> list[dict[str, Any]]:
    """Return the event and its consequences once all of them are in the tables and were seen on Kafka."""
    while _since(watch.sent) < _PATIENCE * 1000:
        _note(watch)
        journey = check_answer(http.get(url, timeout=_HTTP_LIMIT)).json()["journey"]
        events: list[dict[str, Any]] = [journey["event"], *journey["caused"]]
        complete = {event["type"] for event in events} >= awaited
        if complete and journey["event"].get("consumedBy") and all(event["id"] in watch.seen for event in events):
            return events
    raise StackError(
        Reason.STACK_FAILED,
        f"the event was stored but its journey did not end within {_PATIENCE:.0f} s; see ./dev status for logs",
    )


def _note(watch: _Watch) -> None:
    for message in watch.consumer.consume(100, timeout=_LOOK_EVERY):
        if message.error() is None:
            event_id = dict(headers_of(message)).get("ce_id", b"")
            name = (event_id or b"").decode(errors="replace")
            place = f"Kafka: {message.topic()}, partition {message.partition()}, offset {message.offset()}"
            watch.seen.setdefault(name, _Seen(_since(watch.sent), place))


def _since(sent: float) -> float:
    return (time.monotonic() - sent) * 1000
