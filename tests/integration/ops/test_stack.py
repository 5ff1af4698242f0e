"""The servers of the stack: real, with the same port and data after every kind of end."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from confluent_kafka.admin import AdminClient, NewTopic

from ops.stack.errors import ServerFailed
from ops.stack.probe import answers

if TYPE_CHECKING:
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


def test_postgres_waits_for_the_disk_at_every_commit(postgres_server: str) -> None:
    with psycopg.connect(f"{postgres_server}/postgres") as connection:
        settings = [connection.execute(f"show {name}").fetchone() for name in ("fsync", "synchronous_commit", "full_page_writes")]
    assert settings == [("on",)] * 3


def test_kafka_keeps_its_topics_over_a_restart(own_stack: StartStack) -> None:
    kafka = own_stack("kafka").kafka
    admin = AdminClient({"bootstrap.servers": kafka.url})
    admin.create_topics([NewTopic("kept", num_partitions=3)])["kept"].result(10)
    kafka.restart()
    topics = admin.list_topics(timeout=10).topics
    assert len(topics["kept"].partitions) == 3


def test_redis_keeps_its_keys_over_a_restart(own_stack: StartStack) -> None:
    server = own_stack("redis").redis
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "1")
    server.restart()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"1"


def test_elasticsearch_serves(elasticsearch_server: str) -> None:
    assert answers(f"{elasticsearch_server}/_cluster/health?wait_for_status=green&timeout=10s", timeout=15)


def test_a_server_that_cannot_start_ends_the_others_and_says_why(own_stack: StartStack) -> None:
    stack = own_stack("postgres", "redis")
    stack.stop()
    with socket.create_server(("127.0.0.1", stack.redis.port)), pytest.raises(ServerFailed, match="redis ended"):
        stack.start()
    assert not any(server.child for server in stack.servers)
    stack.start()
    assert stack.redis.ready()
    assert stack.postgres.ready()
    assert (stack.postgres.programs / "pgbench").exists()
