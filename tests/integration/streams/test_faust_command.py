"""Faust's own command line finds the application of each role."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import requests

from schemas.topology import workers
from tests.kafka import read_topic, settings_of
from tests.ports import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from runtime.kafka import Cluster

FAUST: Final = str(Path(sys.executable).with_name("faust"))
ROLES: Final = {agent.name: agent for agent in workers()}
# Settings that the roles require.
SETTINGS: Final = {
    "DATABASE_URL": "postgresql://postgres@127.0.0.1:1/none",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:1",
    "ELASTICSEARCH_URL": "http://127.0.0.1:1",
}


def environment(**settings: str) -> dict[str, str]:
    return {**os.environ, **SETTINGS, **settings}


def faust(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FAUST, "-A", "streams.worker", *command],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("role", ROLES)
def test_every_agent_is_listed(role: str) -> None:
    listed = faust("--json", "agents", TALLYHOOK_ROLE=role)
    assert listed.returncode == 0, listed.stderr
    agents = json.loads(listed.stdout)
    assert {(agent["name"], agent["topic"]) for agent in agents} == {(f"@{topic}", topic) for topic in ROLES[role].consumes}
    assert all(agent["help"] for agent in agents)


def test_models_are_listed() -> None:
    listed = faust("models", TALLYHOOK_ROLE="payments")
    assert (listed.returncode, "name" in listed.stdout) == (0, True), listed.stderr


@pytest.mark.parametrize("role", ["", "payment"])
def test_a_role_that_is_none_is_refused_with_all_that_there_are(role: str) -> None:
    refused = faust("agents", TALLYHOOK_ROLE=role)
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert all(name in refused.stderr for name in ROLES)


def test_a_message_is_sent_to_the_topic_of_an_agent_and_a_worker_runs_and_stops(kafka_topics: Cluster, database_url: str) -> None:
    web = free_port()
    settings = {**settings_of(kafka_topics), "DATABASE_URL": database_url, "TALLYHOOK_ROLE": "payments"}
    sent = faust("send", kafka_topics.named("webhooks.razorpay"), "no event", **settings)
    assert sent.returncode == 0, sent.stderr
    place = json.loads(sent.stdout.splitlines()[-1])
    found = read_topic(kafka_topics, "webhooks.razorpay", until=lambda found: any(each.value == b"no event" for each in found))
    assert (place["partition"], place["offset"]) in {(each.partition, each.offset) for each in found}

    command = [FAUST, "-A", "streams.worker", "worker", "-l", "info", "--web-port", str(web)]
    with subprocess.Popen(command, env=environment(**settings), stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: dead_letters(web) == 1, seconds=60, every=0.1)
        finally:
            process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=30)
    assert (process.returncode, "Worker ready" in logged) == (0, True), logged[-2000:]


def test_a_worker_waits_for_brokers_that_do_not_answer(database_url: str) -> None:
    settings = {"DATABASE_URL": database_url, "TALLYHOOK_ROLE": "payments"}
    command = [FAUST, "-A", "streams.worker", "worker", "-l", "info", "--web-port", str(free_port())]
    with subprocess.Popen(
        command, env=environment(**settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        waiting = (line for line in process.stdout if "worker_waiting" in line and "kafka_unavailable" in line)
        assert [bool(next(waiting, "")) for _ in range(2)] == [True, True]
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert (process.returncode, "Traceback" in rest) == (0, False), rest


def dead_letters(web: int) -> int:
    try:
        [worker] = requests.get(f"http://127.0.0.1:{web}/agents.json", timeout=5).json()["workers"]
        return int(worker["deadLetters"])
    except requests.ConnectionError:
        return 0
