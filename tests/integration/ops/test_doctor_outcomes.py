"""The doctor reports a failure if an expected effect is missing, with what it checked and what to do."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ops.doctor.examination import examine
from ops.doctor.kafka import check_kafka
from ops.doctor.listeners import check_listeners
from ops.doctor.outcomes import check_outcomes
from ops.doctor.restarts import check_restarts
from ops.stack.child import Identity
from ops.stack.state import ProcessState, StateFile
from outbox import topics
from outbox.offsets import Offsets
from runtime.ids import id_at, new_id
from schemas.topics import TOPICS, Topic
from schemas.topology import AGENTS
from tests.command import tallyhook
from tests.findings import of
from tests.integration.ops.processes import SECRETS, ask, running
from tests.kafka import have_leaders, settings_of
from tests.ports import free_port
from tests.simulators.crm import SECRET
from tests.simulators.stripe import Payment, sign
from tests.waiting import LIMIT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.doctor.findings import Finding
    from runtime.kafka import Cluster

ACME: Final = {"PARTNER_ACME_CRM_URL": "https://user:hush@crm.acme.example/in", "PARTNER_ACME_CRM_SECRET": SECRET}
PORTS: Final = ("PUBLIC_PORT", "INTERNAL_PORT", "RELAY_WEB_PORT", "STREAMS_WEB_PORT")


def execute(url: str, statement: str, *values: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def add_leads(url: str, number: int, due: str, received: str = "now()") -> None:
    for _ in range(number):
        execute(
            url,
            "insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at,"
            f" version, next_attempt_at) values (%s, 'ACME', 'acme', 'x', 'retrying', '{{}}', '', {received}, now(), 1, {due})",
            new_id(),
        )


def closed_ports() -> dict[str, str]:
    return {name: str(free_port()) for name in PORTS}


def test_a_crm_that_is_down_with_leads_behind_an_open_breaker_is_a_failure(database_url: str, tmp_path: Path) -> None:
    add_leads(database_url, 25, "now() + interval '1 hour'")
    execute(
        database_url,
        "insert into lead_breakers (partner, opened_at, probe_at, failures, error) values ('ACME', now(), now(), 10, 'timeout')",
    )
    environ = SECRETS | ACME | {"DATABASE_URL": database_url}
    [finding] = of(list(check_outcomes(environ)), "leads", "fail")
    assert (
        "partner ACME: 25 leads wait: its CRM (https://crm.acme.example) has failed 10 times in a row (timeout)" in finding.text
    )
    assert ("partners probe ACME" in finding.act, finding.runbook) == (True, "runbooks/partner-down.md")
    assert "hush" not in "".join(finding)
    done = tallyhook(environ | closed_ports(), "doctor", "--json", folder=tmp_path)
    assert done.returncode == 1
    assert finding.text in [each["text"] for each in json.loads(done.stdout)["findings"]]
    execute(database_url, "insert into config (key, value, version) values ('partner.ACME.paused', 'true', 1)")
    assert "paused" in of(list(check_outcomes(environ)), "leads", "warn")[0].text


@pytest.mark.parametrize(
    ("due", "received", "level"),
    [
        ("now() - interval '10 minutes'", "now()", "fail"),
        ("now() + interval '1 hour'", "now() - interval '1 hour'", "warn"),
        ("now()", "now()", "ok"),
    ],
)
def test_leads_that_are_due_and_not_tried_are_a_failure(database_url: str, due: str, received: str, level: str) -> None:
    add_leads(database_url, 2, due, received)
    assert len(of(list(check_outcomes({"DATABASE_URL": database_url} | ACME)), "leads", level)) == 1


@pytest.mark.parametrize(("age", "due", "level"), [(1, -10, "fail"), (30, 10, "fail"), (1, 10, "ok")])
def test_mail_that_waits_for_long_is_a_failure(database_url: str, age: int, due: int, level: str) -> None:
    execute(
        database_url,
        "insert into notifications (id, recipient, channel, template, data, address, message_id, status, traceparent,"
        " next_attempt_at) values (%s, 'u', 'EMAIL', 't', '{}', 'a@b.co', 'm', 'queued', '', %s)",
        id_at(datetime.now(UTC) - timedelta(minutes=age)),
        datetime.now(UTC) + timedelta(minutes=due),
    )
    [finding] = of(list(check_outcomes({"DATABASE_URL": database_url})), "notifications", level)
    assert "table notifications" in finding.text


def post(web: str, body: bytes, secret: str) -> int:
    headers = {"Stripe-Signature": sign(body, secret, time.time()), "Content-Type": "application/json"}
    return ask(f"{web}/v1/webhooks/stripe", data=body, headers=headers)[0]


def test_a_gateway_whose_every_webhook_is_refused_and_a_missing_relay_and_worker_are_failures(
    database_url: str, kafka_topics: Cluster, tmp_path: Path
) -> None:
    port = str(free_port())
    environ = SECRETS | {"DATABASE_URL": database_url, **settings_of(kafka_topics), "PUBLIC_PORT": port}
    with running(("gateway",), tmp_path, **environ) as gateway:
        wait_until(lambda: gateway.ready()[0] == 200)
        assert [post(f"http://127.0.0.1:{port}", Payment().succeeded(), "whsec_of_another_endpoint") for _ in range(4)] == [
            401
        ] * 4

        def failures() -> list[Finding]:
            return [finding for finding in examine(closed_ports() | environ, tmp_path) if finding.level == "fail"]

        wait_until(lambda: of(failures(), "webhooks", "fail"), every=0.5)
        texts = "\n".join(finding.text for finding in failures())
        assert "4 of 4 for any reason within 15 minutes" in texts
        assert "no relay works: 0 sessions" in texts
        assert "no payments worker runs: the group" in texts


def test_a_missing_worker_is_a_failure_as_soon_as_the_system_runs(
    database_url: str, kafka_topics: Cluster, tmp_path: Path
) -> None:
    environ = SECRETS | {"DATABASE_URL": database_url, **settings_of(kafka_topics)}
    assert of(list(check_kafka(environ)), "workers", "fail") == []
    with running(("relay",), tmp_path, **environ) as relay:
        wait_until(lambda: relay.ready()[0] == 200)
        found = list(check_kafka(environ))
    assert of(found, "workers", "fail")[0].text.startswith("no payments worker runs: the group")


@pytest.fixture
def dated(kafka: Cluster) -> Cluster:
    """The test's own topics; the one of alerts has the producers' timestamps, unlike those that we create."""
    cluster = kafka._replace(prefix=f"{kafka.prefix}{uuid4().hex[:8]}.")
    place = cluster.named(Topic.ALERTS)
    admin = AdminClient(cluster.client)
    admin.create_topics([NewTopic(place, TOPICS[Topic.ALERTS].partitions, 1)])[place].result(LIMIT)
    topics.ensure(cluster)
    wait_until(lambda: have_leaders(Offsets(cluster), TOPICS), every=0.2)
    return cluster


@contextmanager
def alert_of(kafka: Cluster, age: timedelta) -> Iterator[Consumer]:
    """Produce an alert of this age, and join the alerts worker's group as a member that has read it and handles nothing."""
    topic = kafka.named(Topic.ALERTS)
    producer = Producer(kafka.client)
    producer.produce(topic, b"{}", partition=0, timestamp=int((datetime.now(UTC) - age).timestamp() * 1000))
    producer.flush()
    group = kafka.named(AGENTS["alerts"].group or "")
    worker = Consumer(kafka.client | {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    try:
        worker.subscribe([topic])
        wait_until(lambda: worker.poll(0.5) is not None)
        yield worker
    finally:
        worker.close()


@pytest.mark.parametrize(("age", "level"), [(timedelta(minutes=6), "fail"), (timedelta(seconds=1), "ok")])
def test_events_that_a_running_worker_has_not_handled_for_long_are_a_failure(dated: Cluster, age: timedelta, level: str) -> None:
    environ = settings_of(dated)
    with alert_of(dated, age) as worker:
        [finding] = [each for each in check_kafka(environ) if each.text.startswith("alerts: 1 run")]
        assert finding.level == level
        assert ("1 events behind, 1 of them for more than 5 min" in finding.text) == (level == "fail")
        worker.commit(asynchronous=False)
        [finding] = [each for each in check_kafka(environ) if each.text.startswith("alerts: 1 run")]
        assert finding.level == "ok"


def test_a_relay_that_was_stopped_is_distinguished_from_a_stranger(
    database_url: str, kafka_topics: Cluster, tmp_path: Path
) -> None:
    port = str(free_port())
    settings = {"DATABASE_URL": database_url, **settings_of(kafka_topics), "RELAY_WEB_PORT": port}
    with running(("relay",), tmp_path, **settings) as relay:
        wait_until(lambda: relay.ready()[0] == 200)
        environ = closed_ports() | settings
        assert [finding.level for finding in check_listeners(environ)] == ["ok"] * 4
        relay.process.send_signal(signal.SIGSTOP)
        [finding] = of(list(check_listeners(environ)), "listeners", "fail")
    assert f"relay, 127.0.0.1:{port}/health/ready: accepts the connection and does not answer" in finding.text
    assert ("hangs or was stopped" in finding.act, finding.runbook) == (True, "runbooks/process-down.md")


@contextmanager
def answering(status: int, body: dict[str, Any]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield str(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_worker_of_another_system_is_a_failure(
    database_url: str, kafka_topics: Cluster, postgres_server: str, template_database: str, tmp_path: Path
) -> None:
    """Same release, same server, another database."""
    other = f"{postgres_server}/other_{new_id().hex[:12]}"
    execute(f"{postgres_server}/postgres", f"create database {other.rpartition('/')[2]} template {template_database}")
    port = str(free_port())
    settings = {**settings_of(kafka_topics), "STREAMS_WEB_PORT": port}
    with running(("worker", "payments"), tmp_path, DATABASE_URL=other, **settings) as worker:
        wait_until(lambda: worker.ready()[0] == 200)
        [finding] = of(list(check_listeners(closed_ports() | settings | {"DATABASE_URL": database_url})), "listeners", "fail")
        assert "worker-payments answers for another system" in finding.text
        own = list(check_listeners(closed_ports() | settings | {"DATABASE_URL": other}))
        assert of(own, "listeners", "fail") == []
    execute(f"{postgres_server}/postgres", f"drop database {other.rpartition('/')[2]} with (force)")


@pytest.mark.parametrize(("reason", "level"), [("schema_behind", "fail"), ("stopping", "warn")])
def test_a_process_that_is_not_ready_gives_the_reason(database_url: str, reason: str, level: str) -> None:
    with answering(503, {"ready": False, "reason": reason, "detail": "because"}) as port:
        found = list(check_listeners(closed_ports() | {"DATABASE_URL": database_url, "RELAY_WEB_PORT": port}))
    [finding] = of(found, "listeners", level)
    assert f"not ready: {reason}, because" in finding.text


@pytest.mark.parametrize(
    ("state", "restarts", "age", "level"),
    [
        ("restarting", 7, 1, "fail"),
        ("starting", 3, 1, "fail"),
        ("ready", 5, 10, "fail"),
        ("ready", 5, 900, "warn"),
        ("ready", 0, 5, "ok"),
    ],
)
def test_a_worker_that_falls_over_again_and_again_is_a_failure(
    state: str, restarts: int, age: float, level: str, tmp_path: Path
) -> None:
    process = ProcessState("worker-leads", state, "leads.log", pid=1, born=time.time() - age, restarts=restarts)
    environ = {"DATABASE_URL": "postgresql://ours", "TALLYHOOK_DATA_DIR": str(tmp_path)}
    StateFile(tmp_path).change(
        phase="ready",
        supervisor=Identity.of(os.getpid()),
        processes=(process,),
        environment={"DATABASE_URL": "postgresql://ours"},
    )
    [finding] = check_restarts(environ)
    assert finding.level == level
    if level != "ok":
        assert (f"worker-leads has been started again {restarts} times" in finding.text, "leads.log" in finding.act) == (
            True,
            True,
        )
    assert list(check_restarts(environ | {"DATABASE_URL": "postgresql://another"})) == []
