"""Real servers for the tests: each starts at its first use, on free ports, and stops with the session."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import uuid4

import psutil
import psycopg
import pytest
import redis
from psycopg import sql

from ops.stack import Stack
from ops.stack.places import temporary_data_dir
from ops.stack.stack import KINDS
from outbox import topics
from outbox.offsets import Offsets
from runtime.kafka import Cluster
from schemas.topics import TOPICS
from tests.kafka import delete_all_of, have_leaders, names_on, unprefixed_names
from tests.lasting import Lasting, empty_elasticsearch
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ops.stack.elasticsearch import Elasticsearch
    from ops.stack.server import Server

    StartStack: TypeAlias = Callable[..., Stack]

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  the folder in it is private
_ROOM: Final = 6 << 30
"""Free bytes required for the data of all servers; one test process has used 0.5 GB."""


def memory_for_data() -> Path | None:
    """
    Return a folder in memory, if this machine has enough.

    The database of a test is 600 files: in memory it is made and dropped in 0.1 s, on a busy disk in 2 s. No test
    simulates a power failure, so none needs a disk.
    """
    if not _MEMORY.is_dir() or min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available) < _ROOM:
        return None
    return _MEMORY


def pytest_report_header() -> str:
    return f"data of the servers: {memory_for_data() or 'on disk'}"


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """A folder outside the checkout for all servers of this session; gone at its end."""
    folder = temporary_data_dir(memory_for_data())
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def start_stack(servers_dir: Path) -> Iterator[StartStack]:
    """Starts a stack of the named servers on its own data: `start_stack("postgres")`; runs until the session ends."""
    with ExitStack() as stops:
        yield _starter(servers_dir, stops)


@pytest.fixture
def own_stack(servers_dir: Path) -> Iterator[StartStack]:
    """As `start_stack`, for a test that harms its servers; they stop when it ends."""
    with ExitStack() as stops:
        yield _starter(servers_dir, stops)


@pytest.fixture(scope="session")
def lasting(start_stack: StartStack) -> Iterator[Lasting]:
    """All four servers for whole systems, one after the other."""
    with closing(Lasting(start_stack(*KINDS))) as servers:
        yield servers


@pytest.fixture
def empty_stack(lasting: Lasting) -> Stack:
    """Four emptied servers that already run; the test may stop and kill them, and no other test uses them meanwhile."""
    return lasting.emptied()


def _starter(servers_dir: Path, stops: ExitStack) -> StartStack:
    def start(*servers: str, kinds: Mapping[str, type[Server]] = KINDS) -> Stack:
        number = len(list(servers_dir.iterdir()))
        return stops.enter_context(Stack(servers_dir / f"{number}-{'-'.join(servers)}", servers, kinds=kinds))

    return start


@pytest.fixture(scope="session")
def postgres_server(start_stack: StartStack) -> str:
    """
    Return the address of Postgres without a database: `postgresql://postgres:PASSWORD@127.0.0.1:PORT`; append `/name`.

    It does not wait for a disk: hundreds of databases are made and dropped here, and none of them outlives the machine's power.
    """
    server = start_stack("postgres").postgres.dsn
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")
    return server


@pytest.fixture(scope="session")
def _kafka_of_all(start_stack: StartStack) -> str:
    return start_stack("kafka").kafka.url


@pytest.fixture(scope="module")
def kafka(_kafka_of_all: str) -> Iterator[Cluster]:
    """
    Kafka behind the module's own prefix, so that no module sees a topic or a group of another.

    Topics are not created automatically. A module that creates a topic or a group without the prefix fails.
    """
    cluster = Cluster(_kafka_of_all, prefix=f"{uuid4().hex[:8]}.")
    before = names_on(cluster)
    yield cluster
    seen = unprefixed_names(cluster, before)
    delete_all_of(cluster)
    assert not seen, f"other modules see what this one made without KAFKA_TOPIC_PREFIX: {sorted(seen)}"


@pytest.fixture(scope="module")
def kafka_topics(kafka: Cluster) -> Cluster:
    """The same with all topics of ours, each with a leader."""
    topics.ensure(kafka)
    wait_until(lambda: have_leaders(Offsets(kafka), TOPICS), every=0.1)
    return kafka


@pytest.fixture(scope="session")
def _redis_of_all(start_stack: StartStack) -> str:
    return start_stack("redis").redis.url


@pytest.fixture
def redis_server(_redis_of_all: str) -> str:
    """The address of Redis, emptied for the test: `redis://:PASSWORD@127.0.0.1:PORT/0`."""
    with redis.Redis.from_url(_redis_of_all) as client:
        client.flushall()
    return _redis_of_all


@pytest.fixture(scope="session")
def _elasticsearch_of_all(start_stack: StartStack) -> Elasticsearch:
    return start_stack("elasticsearch").elasticsearch


@pytest.fixture
def elasticsearch_node(_elasticsearch_of_all: Elasticsearch) -> Elasticsearch:
    """The server itself, emptied, for a test that kills it and starts it again."""
    empty_elasticsearch(_elasticsearch_of_all.url)
    return _elasticsearch_of_all


@pytest.fixture
def elasticsearch_server(elasticsearch_node: Elasticsearch) -> str:
    """The address of Elasticsearch, emptied for the test: `http://127.0.0.1:PORT`."""
    return elasticsearch_node.url
