"""Lag on a real Kafka is exact: without a reader, while a worker waits, and when everything is read."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import requests
from confluent_kafka import Producer

from outbox.offsets import Offsets
from schemas.envelope import to_headers
from streams.pages import WorkerTopology
from tests.integration.streams.conftest import envelope
from tests.kafka import settings_of
from tests.ports import free_port
from tests.simulators import stripe
from tests.waiting import wait_until
from topology.survey import look_at, take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.kafka import Cluster
    from topology.view import AgentView, Topology

NOWHERE: Final = "postgresql://postgres@127.0.0.1:1/none"


def payments(seen: Topology) -> AgentView:
    return next(agent for agent in seen.agents if agent.name == "payments")


def lag(kafka: Cluster) -> int | None:
    return next(edge.lag for edge in take(Offsets(kafka)).edges if (edge.source, edge.target) == ("webhooks.stripe", "payments"))


def produce(kafka: Cluster, number: int) -> None:
    """So many Stripe events, spread over the partitions by their payment."""
    producer = Producer(kafka.client)
    for n in range(number):
        event = envelope(stripe.Payment().created(stripe.START + n))
        producer.produce(kafka.named("webhooks.stripe"), event.data, event.aggregate_id, headers=to_headers(event))
    assert producer.flush(30) == 0


@contextmanager
def worker(kafka: Cluster, database_url: str, *besides: str) -> Iterator[str]:
    """Run a payments worker, with other roles, until it has its partitions; yields the address of its web server."""
    port = free_port()
    environment = {
        **os.environ,
        **settings_of(kafka),
        "DATABASE_URL": database_url,
        "STREAMS_WEB_PORT": str(port),
        "STREAMS_COMMIT_INTERVAL": "200ms",
    }
    command = [sys.executable, "-c", "from ops.cli import main; main()", "worker", "payments", *besides]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        web = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: ready(web), every=0.1)
            yield web
        finally:
            process.terminate()
            process.wait(30)


def ready(web: str) -> bool:
    try:
        answer = requests.get(f"{web}/health/ready", timeout=5)
        return answer.status_code == 200 and answer.json()["workers"]["payments"]["partitions"] == 16
    except requests.ConnectionError:
        return False


def exposed(web: str) -> dict[tuple[str, int], int]:
    """`tallyhook_worker_lag` as a scrape finds it, by topic and partition."""
    found = {}
    for line in requests.get(f"{web}/metrics", timeout=10).text.splitlines():
        if line.startswith("tallyhook_worker_lag{"):
            labels, value = line.removeprefix("tallyhook_worker_lag{").split("} ")
            names = dict(label.split("=") for label in labels.split(","))
            assert names["worker"] == '"payments"'
            found[names["topic"].strip('"'), int(names["partition"].strip('"'))] = int(float(value))
    return found


def test_lag_is_the_number_of_produced_records_until_a_worker_has_read_them(kafka_topics: Cluster, database_url: str) -> None:
    before = lag(kafka_topics) or 0
    produce(kafka_topics, 37)
    seen = take(Offsets(kafka_topics))
    assert payments(seen).group is not None
    assert payments(seen).group.members == []
    assert lag(kafka_topics) == before + 37
    by_partition = {(p.topic, p.partition): p.readers[0].lag for p in seen.partitions if p.topic == "webhooks.stripe"}
    assert sum(by_partition.values()) == before + 37
    assert len([number for number in by_partition.values() if number]) > 1

    with worker(kafka_topics, database_url) as web:
        wait_until(lambda: lag(kafka_topics) == 0, every=0.1)
        group = payments(take(Offsets(kafka_topics))).group
        assert group is not None
        assert (group.state, group.lag, len(group.members)) == ("stable", 0, 1)
        assert group.members[0].partitions == {t: [*range(8)] for t in ("webhooks.razorpay", "webhooks.stripe")}
        assert set(exposed(web).values()) == {0}
        assert len(exposed(web)) == 16

    produce(kafka_topics, 5)
    group = payments(take(Offsets(kafka_topics))).group
    assert group is not None
    assert (group.state, group.lag, group.members) == ("empty", 5, [])


def test_a_worker_that_waits_for_its_database_exposes_all_of_its_lag(kafka_topics: Cluster) -> None:
    """Far more than it fetches while it waits: the high-water mark of its last fetch does not count the rest."""
    before = lag(kafka_topics) or 0
    with worker(kafka_topics, NOWHERE) as web:
        produce(kafka_topics, 20)
        wait_until(lambda: sum(exposed(web).values()) == before + 20, every=0.1)
        produce(kafka_topics, 9000)
        assert sum(exposed(web).values()) == before + 9020
        answered = worker_topology(web)
        assert {(held.topic, held.partition): held.lag for held in answered.process.partitions} == exposed(web)
        assert answered.topology.lag == before + 9020
        page = requests.get(f"{web}/topology", headers={"Accept": "text/html"}, timeout=10)
        assert (page.status_code, f"{before + 9020:,}</td>" in page.text) == (200, True)


def worker_topology(web: str) -> WorkerTopology:
    answer = requests.get(f"{web}/topology", timeout=10)
    assert answer.headers["Content-Type"].startswith("application/json")
    return msgspec.json.decode(answer.content, type=WorkerTopology)


def test_one_look_sees_every_topic_and_group(kafka_topics: Cluster) -> None:
    seen = look_at(Offsets(kafka_topics))
    assert len(seen.spans) == 87
    assert set(seen.groups) == {
        f"tallyhook-{name}" for name in ("payments", "leads", "search", "cache", "alerts", "notifications")
    }
