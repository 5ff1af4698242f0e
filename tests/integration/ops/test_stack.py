"""The servers of the stack: real, with the same port and data after every kind of stop."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis
from confluent_kafka.admin import AdminClient, NewTopic

from ops.stack import Stack
from ops.stack.errors import StackError
from ops.stack.kafka import Kafka
from ops.stack.places import temporary_data_dir
from ops.stack.ports import Ports
from ops.stack.probe import answers
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import StartStack


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_postgres_keeps_what_it_committed(own_stack: StartStack, end: str) -> None:
    postgres = own_stack("postgres").postgres
    port = postgres.port
    with psycopg.connect(postgres.url) as connection:
        connection.execute("create table kept as select 1 as one")
    getattr(postgres, end)()
    postgres.start()
    assert postgres.port == port
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("select one from kept").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "address", ["postgresql://postgres@127.0.0.1:{port}/postgres", "postgresql://postgres:x@127.0.0.1:{port}/postgres"]
)
def test_postgres_refuses_a_login_without_its_password(postgres_server: str, address: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(address.format(port=urlsplit(postgres_server).port))


def test_redis_refuses_a_login_without_its_password(redis_server: str) -> None:
    with redis.Redis(port=urlsplit(redis_server).port or 0) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_files_of_the_servers_are_readable_to_their_owner_alone(own_stack: StartStack) -> None:
    stack = own_stack("postgres", "redis")
    secrets = {urlsplit(server.url).password or "?" for server in stack.servers}
    for path in [stack.data_dir, *stack.data_dir.rglob("*")]:
        mode = path.lstat().st_mode
        reachable = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents if folder.is_relative_to(stack.data_dir))
        assert not (reachable and mode & (stat.S_IRGRP | stat.S_IROTH)), path
    lines = " ".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    assert not [secret for secret in secrets if secret in lines]


def test_data_without_passwords_comes_up_again_and_requires_a_password() -> None:
    """An older version left it so: any local account was a superuser, and the folders were open."""
    data_dir = temporary_data_dir()
    with Stack(data_dir, ["postgres", "redis"]) as stack, psycopg.connect(stack.postgres.url) as connection:
        connection.execute("create table kept as select 1 as one")
        connection.commit()
        redis.Redis.from_url(stack.redis.url).set("kept", "1")
    rules = data_dir / "postgres/data/pg_hba.conf"
    rules.write_text(rules.read_text().replace("scram-sha-256", "trust"))
    for name in ("postgres", "redis"):
        (data_dir / name / "password").unlink()
        (data_dir / name).chmod(0o755)
    with Stack(data_dir, ["postgres", "redis"]) as stack:
        with psycopg.connect(stack.postgres.url) as connection:
            assert connection.execute("select one from kept").fetchall() == [(1,)]
        assert redis.Redis.from_url(stack.redis.url).get("kept") == b"1"
        test_postgres_refuses_a_login_without_its_password(stack.postgres.dsn, "postgresql://postgres@127.0.0.1:{port}/postgres")
        assert not (data_dir / "postgres").stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    shutil.rmtree(data_dir)


def test_postgres_waits_for_the_disk_at_every_commit(own_stack: StartStack) -> None:
    with psycopg.connect(own_stack("postgres").postgres.url) as connection:
        settings = [connection.execute(f"show {name}").fetchone() for name in ("fsync", "synchronous_commit", "full_page_writes")]
    assert settings == [("on",)] * 3


def test_kafka_keeps_its_topics_over_a_restart(own_stack: StartStack) -> None:
    kafka = own_stack("kafka").kafka
    admin = AdminClient({"bootstrap.servers": kafka.url})
    admin.create_topics([NewTopic("kept", num_partitions=3)])["kept"].result(10)
    kafka.restart()
    topics = admin.list_topics(timeout=10).topics
    assert len(topics["kept"].partitions) == 3


def test_kafka_loads_its_classes_from_the_archive_that_was_made_of_them(tmp_path: Path) -> None:
    kafka = Kafka(tmp_path, Ports())

    def is_made() -> bool:  # by this process, or by another one that runs tests
        kafka.prepare()
        return any("AOTCache" in str(word) for word in kafka.command())

    wait_until(is_made, every=0.5)
    java, *words = map(str, kafka.command()[:-2])
    done = subprocess.run(
        [java, "-XX:AOTMode=on", *words, "kafka.tools.StorageTool", "random-uuid"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, len(done.stdout.strip())) == (0, 22), done.stderr


def test_kafka_gets_a_copy_of_formatted_storage(tmp_path: Path) -> None:
    """It runs no Java for it; `test_kafka_keeps_its_topics_over_a_restart` starts on such a copy."""
    kafka = Kafka(tmp_path, Ports())
    storage, formatted = kafka._data, tmp_path / "formatted"

    def is_copied() -> bool:  # if another test process makes the kept one at this moment, this one makes its own
        shutil.rmtree(storage, ignore_errors=True)
        kafka.prepare()
        kept = kafka._jars / f"storage-{kafka.node}" / "meta.properties"
        return kept.exists() and (storage / kept.name).read_bytes() == kept.read_bytes()

    wait_until(is_copied, every=0.5)
    kafka._format_at(formatted)
    assert facts_of(storage) == facts_of(formatted)
    assert f"node.id={kafka.node}" in facts_of(storage)["meta.properties"]


def facts_of(storage: Path) -> dict[str, set[str]]:
    """Return its files, with the lines of text files, without the files that differ each time."""
    return {file.name: lines_of(file) if file.suffix == ".properties" else set() for file in storage.iterdir()}


def lines_of(file: Path) -> set[str]:
    return {line for line in file.read_text().splitlines() if not line.startswith(("directory.id=", "#"))}


def test_redis_keeps_its_keys_over_a_restart(own_stack: StartStack) -> None:
    server = own_stack("redis").redis
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "1")
    server.restart()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"1"


def test_elasticsearch_serves(elasticsearch_server: str) -> None:
    assert answers(f"{elasticsearch_server}/_cluster/health?wait_for_status=green&timeout=10s", timeout=15)


def test_a_server_that_cannot_start_ends_the_others_and_gives_the_reason(own_stack: StartStack) -> None:
    stack = own_stack("postgres", "redis")
    stack.stop()
    with socket.create_server(("127.0.0.1", stack.redis.port)), pytest.raises(StackError, match="redis ended"):
        stack.start()
    assert not any(server.child for server in stack.servers)
    stack.start()
    assert stack.redis.ready()
    assert stack.postgres.ready()
    assert (stack.postgres.programs / "pgbench").exists()
