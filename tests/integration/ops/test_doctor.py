"""The doctor on real servers: it reports what is well, away or wrong, and what to do."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import psycopg
import pytest

from ops.doctor.examination import LIMIT, examine
from ops.doctor.listeners import check_listeners
from ops.doctor.others import check_elasticsearch
from ops.doctor.postgres import check_postgres
from outbox.partitions import name
from runtime.ids import new_id
from tests.command import tallyhook
from tests.findings import of, texts
from tests.kafka import settings_of
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runtime.kafka import Cluster

    ClosedPorts: TypeAlias = Callable[[], dict[str, str]]

LISTENERS: Final = ("PUBLIC", "INTERNAL", "RELAY_WEB", "STREAMS_WEB")
SECRETS: Final = {
    "STRIPE_WEBHOOK_SECRET": "whsec_8f1c2a9d7b6e4f3085a1c9d2e7f60b4a",
    "INTERNAL_API_TOKEN": "q7Rk2mZx9vNb4tLw8yPc",
    "ADMIN_API_TOKEN": "H3fJ6sDg1aQe5uTi0oBn",
}
SERVERS: Final = {
    "postgres": "DATABASE_URL",
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "redis": "REDIS_URL",
    "elasticsearch": "ELASTICSEARCH_URL",
}


@pytest.fixture
def environ(database_url: str, kafka_topics: Cluster, redis_server: str, elasticsearch_server: str) -> dict[str, str]:
    """The settings of a system whose servers all run, with port 0 for every listener."""
    addresses = zip(SERVERS.values(), (database_url, kafka_topics.servers, redis_server, elasticsearch_server), strict=True)
    ports = {f"{listener}_PORT": "0" for listener in LISTENERS}
    return {**SECRETS, **dict(addresses), **settings_of(kafka_topics), **ports}


@contextmanager
def change(database_url: str, statement: str) -> Iterator[None]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(statement.encode())
        yield


def test_servers_that_are_well_are_well(environ: dict[str, str], tmp_path: Path) -> None:
    found = examine(environ, tmp_path)
    assert [finding for finding in found if finding.level == "fail"] == []
    for area in ("settings", "secrets", *SERVERS, "outbox", "dead letters"):
        assert of(found, area, "ok"), area


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_away_is_a_failure_and_the_others_are_examined(
    environ: dict[str, str], server: str, tmp_path: Path
) -> None:
    port = free_port()
    gone = {
        "postgres": f"postgresql://me:hush@127.0.0.1:{port}/app",
        "kafka": f"127.0.0.1:{port}",
        "redis": f"redis://:hush@127.0.0.1:{port}/0",
        "elasticsearch": f"http://me:hush@127.0.0.1:{port}",
    }
    found = examine(environ | {SERVERS[server]: gone[server]}, tmp_path)
    [failure] = [finding for finding in found if finding.level == "fail"]
    assert (failure.area, failure.runbook) == (server, f"runbooks/{server}-down.md")
    assert str(port) in failure.text
    assert failure.act
    assert "hush" not in texts(found)
    assert all(of(found, other, "ok") for other in SERVERS if other != server)


def test_servers_that_hang_are_reported_in_time(environ: dict[str, str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = []
        for _ in SERVERS:
            deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports.append(deaf.getsockname()[1])
        schemes = ("postgresql://127.0.0.1:{}/app", "127.0.0.1:{}", "redis://127.0.0.1:{}/0", "http://127.0.0.1:{}")
        addresses = {name: text.format(port) for name, text, port in zip(SERVERS.values(), schemes, ports, strict=True)}
        started = time.monotonic()
        found = examine(environ | addresses, tmp_path)
    assert time.monotonic() - started < 4 * LIMIT
    assert {finding.area for finding in found if finding.level == "fail"} == {*SERVERS}


def test_the_command_reports_all_of_it_as_json_and_fails(environ: dict[str, str], tmp_path: Path) -> None:
    def run(**changes: str) -> tuple[int, dict[str, Any]]:
        done = tallyhook({**environ, **changes}, "doctor", "--json", folder=tmp_path)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    code, report = run(RELAY_BATCH="none", DATABASE_URL="postgresql://me:hush@127.0.0.1:1/app")
    assert (code, report["ok"]) == (1, False)
    failed = {finding["area"]: finding for finding in report["findings"] if finding["level"] == "fail"}
    assert {*failed} == {"settings", "postgres"}
    assert failed["postgres"].keys() == {"area", "level", "text", "act", "runbook"}
    assert "hush" not in json.dumps(report)


def test_an_empty_database_and_an_older_one_are_to_be_migrated(database_url: str, postgres_server: str) -> None:
    for url in (f"{postgres_server}/postgres", database_url):
        with change(database_url, "update alembic_version set version_num = '0001'"):
            [failure] = of(list(check_postgres({"DATABASE_URL": url})), "postgres", "fail")
        assert "tallyhook migrate" in failure.act


@pytest.mark.parametrize(("ahead", "level"), [(0, "fail"), (1, "fail"), (5, "warn")])
def test_a_day_without_its_partition_is_the_worse_the_nearer(database_url: str, ahead: int, level: str) -> None:
    day = datetime.now(UTC).date() + timedelta(days=ahead)
    with change(database_url, f"drop table {name('outbox', day)}"):
        [finding] = of(list(check_postgres({"DATABASE_URL": database_url})), "postgres", level)
    assert str(day) in finding.text
    assert "tallyhook retention" in finding.act


def test_commits_that_a_crash_would_lose_are_a_failure(database_url: str) -> None:
    database = database_url.rpartition("/")[2]
    with change(database_url, f"alter database {database} set synchronous_commit = off"):
        [failure] = of(list(check_postgres({"DATABASE_URL": database_url})), "postgres", "fail")
    assert "synchronous_commit is off" in failure.text


def test_an_order_of_texts_that_changed_is_a_failure(database_url: str) -> None:
    assert "texts are sorted as the indexes expect" in texts(list(check_postgres({"DATABASE_URL": database_url})))
    with change(database_url, "update pg_database set datcollversion = '2.36' where datname = current_database()"):
        [failure] = of(list(check_postgres({"DATABASE_URL": database_url})), "postgres", "fail")
    assert "a webhook could be accepted twice" in failure.text
    assert "reindex" in failure.act


def test_events_that_wait_long_are_parked_or_set_aside_are_reported(database_url: str) -> None:
    old = new_id()
    statements = [
        f"insert into outbox_pending (event_id, shard) values ('{_earlier(old)}', 1)",
        f"insert into outbox_pending (event_id, shard, parked_at, reason) values ('{new_id()}', 1, now(), 'topic_unknown')",
        f"""insert into dead_letters (id, consumer, reason, detail, topic, partition, "offset", headers)
            values ('{new_id()}', 'payments', 'handler_failed', '', 'webhooks.stripe', 0, 0, '[]')""",
    ]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    found = list(check_postgres({"DATABASE_URL": database_url}))
    waiting, parked = of(found, "outbox", "warn")
    assert "1 events wait for Kafka, the oldest for 60 min" in waiting.text
    assert "1 events are parked" in parked.text
    [letters] = of(found, "dead letters", "warn")
    assert "1 of the payments worker" in letters.text


def _earlier(event_id: Any) -> str:
    """Return the id as if it had been made an hour ago."""
    return str(type(event_id)(int=event_id.int - (3_600_000 << 80)))


def test_an_index_that_is_not_made_yet_is_reported(elasticsearch_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.doctor.others.INDEXES", {"never-made": None})
    [finding] = of(list(check_elasticsearch({"ELASTICSEARCH_URL": elasticsearch_server})), "elasticsearch", "warn")
    assert "never-made has no alias" in finding.text


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "level"),
    [
        (200, b'{"ready":true}', "ok"),
        (503, b'{"ready":false}', "warn"),
        (404, b"", "fail"),
        (200, b"<html>", "fail"),
    ],
)
def test_a_listener_is_ours_or_a_stranger(
    status: int, body: bytes, level: str, closed_ports: Callable[[], dict[str, str]]
) -> None:
    with answering(status, body) as port:
        found = list(check_listeners(closed_ports() | {"PUBLIC_PORT": str(port)}))
    [finding] = [finding for finding in found if finding.text.startswith("public")]
    assert finding.level == level
    assert [finding.level for finding in found if not finding.text.startswith("public")] == ["ok"] * 3


@pytest.fixture
def closed_ports() -> ClosedPorts:
    def take() -> dict[str, str]:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in LISTENERS]
            return {f"{listener}_PORT": str(each.getsockname()[1]) for listener, each in zip(LISTENERS, sockets, strict=True)}

    return take
