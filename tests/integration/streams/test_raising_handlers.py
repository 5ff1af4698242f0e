"""If a handler raises, its event is not skipped: it is set aside, or the process ends and the event is read again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from confluent_kafka import Producer

from outbox.errors import BrokerError
from outbox.offsets import Offsets
from schemas.envelope import Event, to_headers
from schemas.topics import Topic
from schemas.topology import group_of
from tests.integration.streams.conftest import envelope
from tests.kafka import settings_of
from tests.ports import free_port
from tests.simulators import stripe
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.kafka import Cluster

EX_SOFTWARE: Final = 70
WORKER: Final = """
import asyncio, contextlib, os, sys
from ops.processes import worker
from streams.role import Role, role_of

class Ours(BaseException): ...

class Handler:
    consumer = "cache"

    async def handle(self, connection, events):
        if sys.argv[2:]:
            raise eval(sys.argv[2])

class Quiet:
    consumer = "alerts"

    async def handle(self, connection, events):
        pass

@contextlib.asynccontextmanager
async def broken(settings, pool):
    raise ZeroDivisionError
    yield

cache = Role("cache", broken) if sys.argv[2:] == ["broken"] else role_of(Handler())
worker.ROLES = {"cache": cache, "alerts": role_of(Quiet())}
sys.exit(worker.main(sys.argv[1].split(), os.environ))
"""
ALONE: Final = "cache"
BESIDE: Final = "alerts cache"
each_process = pytest.mark.parametrize("roles", [ALONE, BESIDE])


@pytest.fixture
def event(kafka_topics: Cluster) -> Event:
    """An event on the topic of the cache worker."""
    made = envelope(stripe.Payment().created(stripe.START))
    producer = Producer(kafka_topics.client)
    producer.produce(kafka_topics.named(Topic.CACHE_COMMANDS), made.data, made.aggregate_id, headers=to_headers(made))
    producer.produce(kafka_topics.named(Topic.ALERTS), made.data, made.aggregate_id, headers=to_headers(made))
    assert producer.flush(20) == 0
    return made


def run(
    kafka: Cluster, database_url: str, *raised: str, roles: str = ALONE, until: Callable[[], bool] = lambda: False
) -> tuple[int, list[dict[str, Any]]]:
    """Run a worker whose handler raises this until it ends, or until the fact; returns the exit code and the log."""
    environment = {
        **os.environ,
        **settings_of(kafka),
        "DATABASE_URL": database_url,
        "STREAMS_WEB_PORT": str(free_port()),
        "STREAMS_COMMIT_INTERVAL": "100ms",
    }
    with (
        TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, "-c", WORKER, roles, *raised], env=environment, stdout=subprocess.DEVNULL, stderr=log
        ) as process,
    ):
        try:
            wait_until(lambda: process.poll() is not None or until(), seconds=60, every=0.05)
        finally:
            process.terminate()
        code = process.wait(30)
        log.seek(0)
        return code, [json.loads(line) for line in log if line.startswith(b"{")]


def lag(kafka: Cluster) -> int:
    """The lag of the group, as soon as its coordinator answers: it loads the group's offsets at the first request."""
    found: list[int] = []

    def answers() -> bool:
        with suppress(BrokerError):
            found.append(_lag(kafka))
        return bool(found)

    wait_until(answers)
    return found[0]


def _lag(kafka: Cluster) -> int:
    found = Offsets(kafka).group(group_of("cache"), [Topic.CACHE_COMMANDS])
    ends = {place: span.end for place, span in Offsets(kafka).spans([Topic.CACHE_COMMANDS]).items()}
    return sum(end - found.committed.get(place, 0) for place, end in ends.items())


def handled(database_url: str, event: Event) -> bool:
    with psycopg.connect(database_url) as connection:
        found = connection.execute("select from consumed where event_id = %s and consumer = 'cache'", (event.id,))
        return found.fetchone() is not None


@each_process
@pytest.mark.parametrize(
    "raised", ["asyncio.CancelledError()", "GeneratorExit()", "KeyboardInterrupt()", "Ours()", "SystemExit()"]
)
def test_a_base_exception_ends_the_process_and_the_event_is_read_again(
    kafka_topics: Cluster, database_url: str, event: Event, raised: str, roles: str
) -> None:
    before = lag(kafka_topics)
    assert before > 0
    code, log = run(kafka_topics, database_url, raised, roles=roles)
    assert code == EX_SOFTWARE
    assert [(line["process"], line["level"]) for line in log if line["event"] == "loop_failed"] == [("worker-cache", "critical")]
    assert lag(kafka_topics) == before
    assert not handled(database_url, event)
    code, log = run(kafka_topics, database_url, roles=roles, until=lambda: lag(kafka_topics) == 0)
    assert (code, [line for line in log if line["event"] == "left_unfinished"]) == (0, [])
    assert handled(database_url, event)


@each_process
def test_a_role_that_cannot_begin_ends_the_process(kafka_topics: Cluster, database_url: str, event: Event, roles: str) -> None:
    code, log = run(kafka_topics, database_url, "broken", roles=roles)
    assert code == EX_SOFTWARE
    assert any("ZeroDivisionError" in line["event"] for line in log if line["level"] in ("error", "critical"))
    assert not handled(database_url, event)


@pytest.mark.parametrize("raised", ["ZeroDivisionError()", "TimeoutError()", "StopAsyncIteration()"])
def test_an_exception_sets_the_event_aside(kafka_topics: Cluster, database_url: str, event: Event, raised: str) -> None:
    assert run(kafka_topics, database_url, raised, until=lambda: lag(kafka_topics) == 0)[0] == 0
    with psycopg.connect(database_url) as connection:
        letters = connection.execute("select reason, detail from dead_letters where event_id = %s", (event.id,)).fetchall()
    assert [(reason, detail.split(":")[0]) for reason, detail in letters] == [("handler_failed", raised.removesuffix("()"))]
