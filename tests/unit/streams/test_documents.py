"""The search index is prepared by several requests, and a slow Elasticsearch is no hang of the worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from elasticsearch import ApiError

from runtime import heartbeat
from runtime.heartbeat import Heartbeat, liveness
from streams.search.documents import GONE, Change, Documents

if TYPE_CHECKING:
    import pytest


class Slow:
    """An Elasticsearch that takes 40 seconds for each answer, and whose index another worker makes first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 0.0
        self.batches = Heartbeat("search batches")
        self.silent = list[bool]()
        self.indices = SimpleNamespace(
            put_index_template=self.answer, exists_alias=self.answer, create=self.exists, put_alias=self.answer
        )
        monkeypatch.setattr(heartbeat, "now", lambda: self.at)

    async def answer(self, **_: Any) -> bool:
        self.at += 40
        self.silent.append(liveness([self.batches]) != {"live": True})
        return False

    async def exists(self, **_: Any) -> None:
        await self.answer()
        raise ApiError("resource_already_exists_exception", SimpleNamespace(status=400), {})  # type: ignore[arg-type]

    async def bulk(self, **_: Any) -> Any:
        await self.answer()
        return SimpleNamespace(body={"items": [{"index": {"status": 201}}]})


async def test_a_batch_that_prepares_the_index_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    slow: Any = Slow(monkeypatch)
    documents = Documents(slow, "properties")
    documents.on_progress(slow.batches.beat)
    slow.batches.beat()
    assert await documents.write([Change("p", 1, GONE)]) == [None]
    assert slow.silent == [False] * 5


async def test_the_preparation_before_the_first_batch_begins_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    slow: Any = Slow(monkeypatch)
    documents = Documents(slow, "properties")
    documents.on_progress(slow.batches.beat)
    await documents._ensure()
    slow.at += 1000
    assert liveness([slow.batches]) == {"live": True}
