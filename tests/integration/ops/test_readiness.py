"""No process is ready on a schema that does not fit; each gives the reason, and each is ready once the schema fits."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrations import chain
from outbox.settings import RetentionSettings
from outbox.upkeep import make_days_ahead
from runtime.schema import needed, newest
from tests.command import tallyhook
from tests.integration.ops.processes import SECRETS, ask, running
from tests.kafka import settings_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.kafka import Cluster
    from tests.integration.ops.processes import Running

PROCESSES: Final = (("gateway",), ("relay",), ("worker", "payments"))
SERVICE: Final = {"X-Internal-Token": SECRETS["INTERNAL_API_TOKEN"], "Content-Type": "application/json"}
COMMAND: Final = b'{"reference": "order-1", "amount": 1, "currency": "eur"}'


@pytest.fixture
def empty_database(postgres_server: str) -> Iterator[str]:
    name = f"empty_{uuid4().hex[:12]}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield f"{postgres_server}/{name}"
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def set_revision(url: str, revision: str) -> None:
    execute(url, "update alembic_version set version_num = %s", revision)


def execute(url: str, statement: str, *values: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def health(process: Running, status: int) -> dict[str, object]:
    """Return the body of its health once it answers with the status."""
    wait_until(lambda: process.ready()[0] == status)
    return process.ready()[1]


def test_every_process_waits_for_the_schema_and_is_ready_once_it_is_there(
    empty_database: str, kafka_topics: Cluster, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        settings = {"DATABASE_URL": empty_database, **settings_of(kafka_topics)}
        processes = [stack.enter_context(running(words, tmp_path, **settings)) for words in PROCESSES]
        for process in processes:
            assert health(process, 503)["reason"] == "schema_missing"
        gateway = processes[0]
        for path, headers in (("/internal/v1/payments/expect", SERVICE), ("/internal/v1/config", SERVICE)):
            status, problem = ask(f"{gateway.web}{path}", data=COMMAND, headers=headers)
            assert (status, problem["reason"]) == (503, "schema_missing")
            assert "tallyhook migrate" in problem["detail"]
        assert ask(f"{gateway.web}/health/live")[0] == 200

        chain.upgrade(empty_database)
        set_revision(empty_database, "0018")
        for process in processes:
            # A schema in the middle of the migration counts as behind, too.
            wait_until(lambda process=process: f"0018, {needed()} or a later one" in str(process.ready()[1].get("detail")))
            assert health(process, 503)["reason"] == "schema_behind"

        set_revision(empty_database, newest())
        make_days_ahead(RetentionSettings.load({"DATABASE_URL": empty_database}))
        systems = {health(process, 200)["system"] for process in processes}
        assert len(systems) == 1
        for process in processes:
            assert process.process.poll() is None
            reasons = (line["reason"] for line in process.logged("not_ready") if line["reason"].startswith("schema_"))
            # Each revision that it sees while the database migrates is logged.
            assert [reason for reason, _ in groupby(reasons)] == ["schema_missing", "schema_behind"]


def test_a_newer_schema_is_accepted_until_a_contracting_migration_removes_something_needed(
    database_url: str, tmp_path: Path
) -> None:
    set_revision(database_url, "9001")
    with running(("gateway",), tmp_path, DATABASE_URL=database_url) as gateway:
        health(gateway, 200)
        contract = "insert into schema_contracts (revision, oldest_code) values (%s, %s)"
        execute(database_url, contract, "9000", newest())
        execute(database_url, contract, "9001", "9000")
        assert health(gateway, 503)["reason"] == "schema_ahead"
        status, problem = ask(f"{gateway.web}/internal/v1/config", headers=SERVICE)
        assert (status, problem["reason"]) == (503, "schema_ahead")


def test_a_contract_that_allows_this_release_leaves_it_ready(database_url: str, tmp_path: Path) -> None:
    set_revision(database_url, "9001")
    execute(database_url, "insert into schema_contracts (revision, oldest_code) values ('9001', %s)", newest())
    with running(("gateway",), tmp_path, DATABASE_URL=database_url) as gateway:
        assert health(gateway, 200)["process"] == "gateway"


COMMANDS: Final = (
    ("outbox", "status"),
    ("ledger",),
    ("dead-letters", "list"),
    ("secrets", "list"),
    ("retention",),
    ("deliveries", "explain", "--last", "stripe"),
    ("replay", "show"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_that_meets_another_schema_reports_it_in_one_line(
    words: tuple[str, ...], database_url: str, tmp_path: Path
) -> None:
    set_revision(database_url, "0018")
    environ = SECRETS | {"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    done = tallyhook(environ, *words, folder=tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("tallyhook: schema_behind: the schema is at revision 0018")


def test_migrating_with_an_older_release_changes_nothing_and_fails_only_where_it_cannot_run(
    database_url: str, tmp_path: Path
) -> None:
    def migrate() -> subprocess.CompletedProcess[str]:
        return tallyhook({"DATABASE_URL": database_url}, "migrate", folder=tmp_path)

    set_revision(database_url, "9001")
    done = migrate()
    assert (done.returncode, done.stdout) == (0, "database at revision 9001 already\n")
    execute(database_url, "insert into schema_contracts (revision, oldest_code) values ('9001', '9000')")
    done = migrate()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "schema_ahead" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_gateway_that_is_to_stop_is_unready_first_and_serves_until_the_delay_is_over(
    number: signal.Signals, database_url: str, tmp_path: Path
) -> None:
    with running(("gateway",), tmp_path, DATABASE_URL=database_url, SHUTDOWN_DELAY="3s") as gateway:
        health(gateway, 200)
        asked = time.monotonic()
        gateway.process.send_signal(number)
        assert health(gateway, 503)["reason"] == "stopping"
        status, _ = ask(f"{gateway.web}/internal/v1/payments/expect", data=COMMAND, headers=SERVICE)
        assert status == 200
        assert gateway.process.wait(20) == 0
        assert time.monotonic() - asked >= 3
        assert gateway.logged("gateway_stopped")


def test_a_second_signal_skips_the_delay(database_url: str, tmp_path: Path) -> None:
    with running(("gateway",), tmp_path, DATABASE_URL=database_url, SHUTDOWN_DELAY="5m") as gateway:
        health(gateway, 200)
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: gateway.logged("gateway_stopping"))
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0


@pytest.mark.parametrize("words", PROCESSES[1:], ids=" ".join)
def test_relay_and_workers_drain_on_sighup(
    words: tuple[str, ...], database_url: str, kafka_topics: Cluster, tmp_path: Path
) -> None:
    with running(words, tmp_path, DATABASE_URL=database_url, **settings_of(kafka_topics)) as process:
        health(process, 200)
        process.process.send_signal(signal.SIGHUP)
        assert process.process.wait(20) == 0


@pytest.mark.parametrize("words", PROCESSES, ids=" ".join)
def test_a_process_that_waits_for_the_schema_stops_on_a_signal(
    words: tuple[str, ...], empty_database: str, tmp_path: Path
) -> None:
    with running(words, tmp_path, DATABASE_URL=empty_database, SHUTDOWN_DELAY="0s") as process:
        health(process, 503)
        process.process.send_signal(signal.SIGHUP)
        assert process.process.wait(20) == 0
