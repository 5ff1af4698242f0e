"""Checks whether each server of a stack answers now, its own servers and external ones."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import repeat
from typing import TYPE_CHECKING, Final

import msgspec
import psycopg
import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from elasticsearch import ApiError, Elasticsearch, TransportError
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.stack.stack import VARIABLES
from runtime.addresses import shown
from runtime.kafka import KafkaSettings
from runtime.servers import ElasticsearchSettings, RedisTlsSettings
from runtime.sessions import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ops.stack.state import StackState

_LIMIT: Final = 2  # seconds for each


class ServerStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the four servers; without a pid if it is not ours. `where` has no password."""

    name: str
    state: str
    where: str
    pid: int | None = None
    restarts: int = 0
    log: str | None = None


def examine_servers(state: StackState, data_dir: Path) -> tuple[ServerStatus, ...]:
    """Every server that this stack uses; all are checked at the same time."""
    used = {name: address for name, variable in VARIABLES.items() if (address := state.environment.get(variable))}
    with ThreadPoolExecutor(max(1, len(used))) as pool:
        answers = dict(zip(used, pool.map(_answers, used, repeat(state.environment)), strict=True))
    return tuple(_status_of(state, data_dir, name, used[name], answers=answers[name]) for name in used)


def _status_of(state: StackState, data_dir: Path, name: str, address: str, *, answers: bool) -> ServerStatus:
    identity = state.servers.get(name)
    where = shown(address).partition("://")[2] or address if "://" in address else address
    if name not in state.ports:
        return ServerStatus(name, "ready" if answers else "no answer", where)
    lives = identity is not None and identity.alive()
    return ServerStatus(
        name,
        state="ready" if lives and answers else "no answer" if lives else "ended",
        where=where,
        pid=identity.pid if identity and lives else None,
        restarts=state.server_restarts.get(name, 0),
        log=str(data_dir / "log" / f"{name}.log"),
    )


def _answers(name: str, environ: Mapping[str, str]) -> bool:
    """Report False for every error that a client raises for a server that is away or an address that it cannot use."""
    with suppress(psycopg.Error, redis.RedisError, ApiError, TransportError, KafkaException, OSError, ValueError):
        return _PROBES[name](environ)
    return False


def _probe_postgres(environ: Mapping[str, str]) -> bool:
    with connect(environ["DATABASE_URL"], name="dev", statement=timedelta(seconds=_LIMIT)) as connection:
        return connection.execute("select 1").fetchone() is not None


def _probe_kafka(environ: Mapping[str, str]) -> bool:
    kafka = KafkaSettings.load(environ).kafka
    host, _, port = kafka.servers.partition(",")[0].strip().rpartition(":")
    # librdkafka logs every refused connection, so it is used only once a server listens.
    socket.create_connection((host.strip("[]"), int(port)), timeout=_LIMIT).close()
    return bool(AdminClient(kafka.client | {"log_level": 0}).list_topics(timeout=_LIMIT).brokers)


def _probe_redis(environ: Mapping[str, str]) -> bool:
    once, trust = Retry(NoBackoff(), retries=0), RedisTlsSettings.load(environ).redis_options
    url, patience = environ["REDIS_URL"], {"socket_timeout": _LIMIT, "socket_connect_timeout": _LIMIT}
    with redis.Redis.from_url(url, retry=once, **patience, **trust) as client:
        return bool(client.ping())


def _probe_elasticsearch(environ: Mapping[str, str]) -> bool:
    settings = ElasticsearchSettings.load(environ)
    with Elasticsearch(
        settings.elasticsearch_url, request_timeout=_LIMIT, max_retries=0, **settings.elasticsearch_options
    ) as client:
        return bool(client.cluster.health())


_PROBES: Final[dict[str, Callable[[Mapping[str, str]], bool]]] = {
    "postgres": _probe_postgres,
    "kafka": _probe_kafka,
    "redis": _probe_redis,
    "elasticsearch": _probe_elasticsearch,
}
