"""Examines Redis and Elasticsearch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import redis
from elasticsearch import ApiError, Elasticsearch, TransportError
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.doctor.faults import of_elasticsearch, of_redis
from ops.doctor.findings import fail, ok, warn
from ops.doctor.settings import address_in
from runtime import endpoints
from runtime.addresses import shown
from runtime.servers import ElasticsearchSettings, RedisTlsSettings
from runtime.settings import SettingsError
from schemas.search import INDEXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.doctor.findings import Finding

REDIS: Final = "redis"
ELASTICSEARCH: Final = "elasticsearch"
_LIMIT: Final = 5.0
_FULL: Final = (85.0, 95.0)  # per cent: from where Elasticsearch accepts no new shards, and from where no new documents


def check_redis(environ: Mapping[str, str]) -> Iterator[Finding]:
    url = address_in(environ, "REDIS_URL", endpoints.check_redis)
    if not url:
        return
    patience = {"socket_timeout": _LIMIT, "socket_connect_timeout": _LIMIT}
    try:
        trust = RedisTlsSettings.load(environ).redis_options
        with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **patience, **trust) as client:
            version = client.info("server").get("redis_version", "?")
    except (redis.RedisError, OSError, ValueError, SettingsError) as error:
        fault = of_redis(error)
        act = f"{fault.act}; webhooks are accepted without it, the cache worker waits"
        yield fail(REDIS, f"{shown(url)} does not answer: {fault.text}", act, "redis-down")
    else:
        yield ok(REDIS, f"{shown(url)} answers, version {version}")


def check_elasticsearch(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        settings = ElasticsearchSettings.load(environ)
    except SettingsError:
        return  # reported among the settings
    url = settings.elasticsearch_url
    client = Elasticsearch(url, request_timeout=_LIMIT, max_retries=0, **settings.elasticsearch_options)
    try:
        health = client.cluster.health()["status"]
        yield ok(ELASTICSEARCH, f"{shown(url)} answers, its cluster is {health}")
        if health == "red":
            act = "see GET /_cluster/allocation/explain; documents are missing until it is repaired"
            yield fail(ELASTICSEARCH, "the cluster is red: shards are missing", act, "elasticsearch-down")
        yield from _check_indexes(client)
        yield from _check_room(client)
    except (ApiError, TransportError, ValueError) as error:
        fault = of_elasticsearch(error)
        act = f"{fault.act}; the search worker waits and loses nothing"
        yield fail(ELASTICSEARCH, f"{shown(url)} does not serve: {fault.text}", act, "elasticsearch-down")
    finally:
        client.close()


def _check_indexes(client: Elasticsearch) -> Iterator[Finding]:
    for name in INDEXES:
        if client.indices.exists_alias(name=name) and client.indices.exists_index_template(name=f"tallyhook-{name}"):
            yield ok(ELASTICSEARCH, f"{name}: alias and template exist")
        else:
            act = "start a search worker: it makes them"
            yield warn(
                ELASTICSEARCH, f"{name} has no alias or no template yet: a search finds nothing", act, "elasticsearch-down"
            )


def _check_room(client: Elasticsearch) -> Iterator[Finding]:
    for node in client.cat.allocation(format="json", h="node,disk.percent"):
        used = float(node.get("disk.percent") or 0) if isinstance(node, dict) else 0.0
        text = f"the disk of {node['node'] if isinstance(node, dict) else '?'} is {used:.0f} % full"
        if used >= _FULL[1]:
            yield fail(ELASTICSEARCH, f"{text}: it accepts no documents", "make room", "disk-full")
        elif used >= _FULL[0]:
            yield warn(ELASTICSEARCH, text, "make room: at 95 % it accepts no documents", "disk-full")
