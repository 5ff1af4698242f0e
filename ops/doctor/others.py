"""Redis, Elasticsearch, and our own listeners."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Final

import redis
from elasticsearch import ApiError, Elasticsearch, TransportError
from redis.backoff import NoBackoff
from redis.retry import Retry

from ops.dev.processes import address
from ops.doctor.findings import fail, ok, one_line, warn
from ops.doctor.settings import address_in
from ops.stack.ports import LOOPBACK
from runtime import endpoints
from runtime.addresses import shown
from schemas.search import INDEXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.doctor.findings import Finding

REDIS: Final = "redis"
ELASTICSEARCH: Final = "elasticsearch"
LISTENERS: Final = "listeners"
_LIMIT: Final = 5.0
_FULL: Final = (85.0, 95.0)  # per cent: where Elasticsearch takes no new shards, and where it takes no new documents
_PORTS: Final = {
    "public": ("PUBLIC", 8080),
    "internal": ("INTERNAL", 8081),
    "relay": ("RELAY_WEB", 6060),
    "worker": ("STREAMS_WEB", 6066),
}


def check_redis(environ: Mapping[str, str]) -> Iterator[Finding]:
    url = address_in(environ, "REDIS_URL", endpoints.check_redis)
    if not url:
        return
    try:
        with redis.Redis.from_url(
            url, socket_timeout=_LIMIT, socket_connect_timeout=_LIMIT, retry=Retry(NoBackoff(), 0)
        ) as client:
            version = client.info("server").get("redis_version", "?")
    except (redis.RedisError, OSError, ValueError) as error:
        act = "start it, or mend REDIS_URL; webhooks are taken without it, the cache worker waits"
        yield fail(REDIS, f"{shown(url)} does not answer: {one_line(error)}", act, "redis-down")
    else:
        yield ok(REDIS, f"{shown(url)} answers, version {version}")


def check_elasticsearch(environ: Mapping[str, str]) -> Iterator[Finding]:
    url = address_in(environ, "ELASTICSEARCH_URL", endpoints.check_elasticsearch)
    if not url:
        return
    client = Elasticsearch(url, request_timeout=_LIMIT, max_retries=0)
    try:
        health = client.cluster.health()["status"]
        yield ok(ELASTICSEARCH, f"{shown(url)} answers, its cluster is {health}")
        if health == "red":
            act = "see GET /_cluster/allocation/explain; documents are missing until it is mended"
            yield fail(ELASTICSEARCH, "the cluster is red: shards are missing", act, "elasticsearch-down")
        yield from _check_indexes(client)
        yield from _check_room(client)
    except (ApiError, TransportError, ValueError) as error:
        act = "start it, or mend ELASTICSEARCH_URL; the search worker waits and loses nothing"
        yield fail(ELASTICSEARCH, f"{shown(url)} does not serve: {one_line(error)}", act, "elasticsearch-down")
    finally:
        client.close()


def _check_indexes(client: Elasticsearch) -> Iterator[Finding]:
    for name in INDEXES:
        if client.indices.exists_alias(name=name) and client.indices.exists_index_template(name=f"tallyhook-{name}"):
            yield ok(ELASTICSEARCH, f"{name}: alias and template are there")
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
            yield fail(ELASTICSEARCH, f"{text}: it takes no documents", "make room", "disk-full")
        elif used >= _FULL[0]:
            yield warn(ELASTICSEARCH, text, "make room: at 95 % it takes no documents", "disk-full")


def check_listeners(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Each is free for us to take, or answers as ours and is ready."""
    for name, (prefix, port) in _PORTS.items():
        host = environ.get(f"{prefix}_HOST") or LOOPBACK
        text = environ.get(f"{prefix}_PORT") or str(port)
        if text.isdigit() and int(text):
            secure = name == "internal" and bool(environ.get("INTERNAL_TLS_CERT"))
            yield _check_listener(name, address((host, int(text))), secure=secure)


def _check_listener(name: str, url: str, *, secure: bool) -> Finding:
    where = f"{name}, {url.removeprefix('http://')}"
    if secure:  # whoever has no certificate is not let in; that it answers at all is what can be seen from here
        url = url.replace("http://", "https://")
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=_LIMIT, context=_trusting() if secure else None) as answer:  # noqa: S310  # http(s) by construction
            ready = b'"ready"' in answer.read(1000)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return _refused(where, refusal)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ConnectionRefusedError):
            return ok(LISTENERS, f"{where}: nobody listens, it is free")
        if secure and isinstance(reason, ssl.SSLError):
            return ok(LISTENERS, f"{where}: answers by TLS, and wants a client's certificate")
        return _stranger(where, one_line(error))
    return ok(LISTENERS, f"{where}: answers and is ready") if ready else _stranger(where, "its answer is not ours")


def _refused(where: str, refusal: urllib.error.HTTPError) -> Finding:
    if refusal.code == HTTPStatus.SERVICE_UNAVAILABLE:
        act = "see what it waits for; `/health/ready` says 200 once it has it"
        return warn(LISTENERS, f"{where}: answers, and is not ready", act, "process-down")
    return _stranger(where, f"it answers {refusal.code}")


def _stranger(where: str, detail: str) -> Finding:
    act = "end what listens there, or set another port"
    return fail(LISTENERS, f"{where}: something that is not ours listens there ({detail})", act, "process-down")


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False  # only whether it lives is asked, nothing is told
    context.verify_mode = ssl.CERT_NONE
    return context
