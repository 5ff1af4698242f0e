"""Commands of our own services and their effects: keys gone from Redis, a document found in Elasticsearch."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from ops.demo.journey import Station, check_answer
from ops.stack.errors import Reason, StackError

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    import requests
    from elasticsearch import Elasticsearch

_LIMIT: Final = 15.0  # seconds for each command
_HTTP_LIMIT: Final = 10


def invalidate_cache(http: requests.Session, internal: str, client: redis.Redis, prefix: str) -> Station:
    """Set three keys and invalidate them, one by its name and two by a pattern."""
    name = f"demo:{secrets.token_hex(4)}"
    keys = [f"{prefix}{name}", f"{prefix}{name}:a", f"{prefix}{name}:b"]
    client.mset(dict.fromkeys(keys, "stale"))
    sent = time.monotonic()
    done = _post(http, f"{internal}/internal/v1/cache/invalidate", {"keys": [name], "patterns": [f"{name}:*"]})
    if "invalidated" not in done:  # the gateway does not wait long for a worker that is busy
        done = _settled(http, internal, done["taskId"], "the end of the invalidation")
    left = client.exists(*keys)
    return Station(_since(sent), "cache/invalidate", f"Redis: {done.get('invalidated')} of 3 keys removed, {left} left")


def index_document(http: requests.Session, internal: str, index: Elasticsearch) -> Station:
    """Index a document, and find it as a search would."""
    name, word = f"demo-{secrets.token_hex(4)}", f"w{secrets.token_hex(4)}"
    sent = time.monotonic()
    command = {"index": "properties", "id": name, "op": "upsert", "doc": {"title": f"A flat with a view {word}"}}
    task = _post(http, f"{internal}/internal/v1/search/index", command)["taskId"]
    _settled(http, internal, task, "the document")
    done = _since(sent)
    index.indices.refresh(index="properties")
    answer = index.search(index="properties", q=word)
    found = [hit["_id"] for hit in answer["hits"]["hits"]]
    return Station(done, "search/index", f"Elasticsearch: a search for {word} finds {', '.join(found) or 'nothing'}")


def _post(http: requests.Session, url: str, command: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = check_answer(http.post(url, json=command, timeout=_HTTP_LIMIT)).json()
    return found


def _settled(http: requests.Session, internal: str, task: str, what: str) -> dict[str, Any]:
    """Wait until the command is done; returns its result."""
    found: dict[str, Any] = {}

    def is_done() -> bool:
        found.update(http.get(f"{internal}/internal/v1/tasks/{task}", timeout=_HTTP_LIMIT).json())
        return bool(found["status"] == "done")

    _until(is_done, what)
    return dict(found.get("result") or {})


def _until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _LIMIT
    while not fact():
        if time.monotonic() > deadline:
            raise StackError(Reason.STACK_FAILED, f"{what} did not come within {_LIMIT:.0f} s; see ./dev status for logs")
        time.sleep(0.01)


def _since(sent: float) -> float:
    return (time.monotonic() - sent) * 1000
