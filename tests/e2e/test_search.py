"""A document from the call to what a search finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch

from tests.system import SERVICE, System
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp


@pytest.fixture
async def elastic(system: System) -> AsyncIterator[AsyncElasticsearch]:
    async with AsyncElasticsearch(system.stack.elasticsearch.url, request_timeout=30) as client:
        yield client


async def index(http: aiohttp.ClientSession, system: System, **change: Any) -> None:
    """Make the change and wait for its task."""
    url = f"{system.internal}/internal/v1"
    async with http.post(f"{url}/search/index", json={"index": "properties"} | change, headers=SERVICE) as answer:
        assert answer.status == 202, await answer.text()
        task_id = (await answer.json())["taskId"]

    async def done() -> bool | None:
        async with http.get(f"{url}/tasks/{task_id}", headers=SERVICE) as answer:
            task = await answer.json()
        assert task["status"] != "failed", task
        return True if task["status"] == "done" else None

    await eventually(done)


async def found(elastic: AsyncElasticsearch, word: str) -> list[str]:
    await elastic.indices.refresh(index="properties")
    hits = (await elastic.search(index="properties", query={"match": {"title": word}}))["hits"]["hits"]
    return [hit["_id"] for hit in hits]


async def test_an_upserted_document_is_found_and_a_deleted_one_never_again_by_a_late_older_upsert(
    system: System, http: aiohttp.ClientSession, elastic: AsyncElasticsearch
) -> None:
    name, word = f"p-{uuid4().hex[:8]}", f"w{uuid4().hex[:8]}"
    doc = {"title": f"Wohnung {word}", "rooms": 3}
    await index(http, system, id=name, op="upsert", doc=doc)
    assert await found(elastic, word) == [name]

    await index(http, system, id=name, op="delete", version=9)
    assert await found(elastic, word) == []
    await index(http, system, id=name, op="upsert", doc=doc, version=8)
    assert await found(elastic, word) == []

    await index(http, system, id=name, op="upsert", doc=doc)
    assert await found(elastic, word) == [name]
    assert system.query("select version from search_documents where id = %s", name) == [(10,)]
