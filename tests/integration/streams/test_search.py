"""The search worker on a real Elasticsearch and a real Postgres."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from elasticsearch import AsyncElasticsearch

from projections.search import take_version
from runtime import heartbeat
from runtime.database import make_pool
from runtime.heartbeat import Heartbeat, liveness
from schemas.search import PropertyDeleted, PropertyUpserted
from streams.processor import Processor
from streams.role import RestoringHandler
from streams.search import documents
from streams.search.documents import Change, Documents
from streams.search.handler import SEARCH, SearchHandler
from streams.settings import SearchSettings
from tests.integration.streams.commands import envelope_of, open_tasks, record_of, task_of
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from ops.stack.elasticsearch import Elasticsearch
    from schemas.envelope import Event


@pytest.fixture
async def elastic(elasticsearch_server: str) -> AsyncIterator[AsyncElasticsearch]:
    """A client of an Elasticsearch without data of earlier tests."""
    async with AsyncElasticsearch(elasticsearch_server, request_timeout=30) as client:
        for name in list(await client.indices.get(index="properties*", allow_no_indices=True)):
            await client.indices.delete(index=name)
        yield client


@asynccontextmanager
async def processing(database_url: str, elasticsearch_url: str, lanes: int = 1) -> AsyncIterator[Processor]:
    settings = SearchSettings(
        database_url=database_url, kafka_bootstrap_servers="unused:9092", elasticsearch_url=elasticsearch_url
    )
    pool = make_pool(database_url, size=4, name="test")
    await pool.open()
    async with SEARCH.opened(settings, pool) as running:
        yield Processor(running.handler, pool, lanes=lanes, lane_size=1, retry_max=timedelta(milliseconds=200))
    await pool.close()


@pytest.fixture
async def processor(
    database_url: str,
    elasticsearch_server: str,
    elastic: AsyncElasticsearch,  # noqa: ARG001  # an empty one first
) -> AsyncIterator[Processor]:
    async with processing(database_url, elasticsearch_server) as running:
        yield running


def upserted(name: str, version: int, **doc: Any) -> Event:
    return envelope_of(PropertyUpserted(id=name, version=version, doc=doc), subject=name)


def deleted(name: str, version: int) -> Event:
    return envelope_of(PropertyDeleted(id=name, version=version), subject=name)


async def found(elastic: AsyncElasticsearch) -> dict[str, Any]:
    """Return the results of a search through the alias."""
    await elastic.indices.refresh(index="properties")
    hits = (await elastic.search(index="properties", size=1000))["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


async def take(processor: Processor, *events: Event) -> None:
    await processor.process([record_of(event, offset=n) for n, event in enumerate(events)])


async def test_an_upserted_document_is_found_through_the_alias_and_its_task_is_done(
    processor: Processor, database_url: str, elastic: AsyncElasticsearch
) -> None:
    event = upserted("p1", 3, title="Küche", rooms=2)
    await open_tasks(database_url, event)
    await take(processor, event)
    assert await found(elastic) == {"p1": {"title": "Küche", "rooms": 2}}
    assert (await elastic.get(index="properties", id="p1"))["_version"] == 3
    task = await task_of(database_url, event.id)
    assert (task.status, task.result) == ("done", {"id": "p1", "version": 3})


async def test_the_latest_version_stays_in_whatever_order_they_come(processor: Processor, elastic: AsyncElasticsearch) -> None:
    await take(processor, upserted("p", 2, n=2), upserted("p", 1, n=1), upserted("p", 4, n=4), upserted("p", 3, n=3))
    assert await found(elastic) == {"p": {"n": 4}}
    await take(processor, upserted("p", 4, n=0))
    assert await found(elastic) == {"p": {"n": 4}}


async def test_a_deleted_document_is_not_found_and_no_late_older_upsert_restores_it(
    processor: Processor, elastic: AsyncElasticsearch
) -> None:
    await take(processor, upserted("p", 1, n=1), deleted("p", 3), deleted("never-seen", 1))
    assert await found(elastic) == {}
    await take(processor, upserted("p", 2, n=2))
    assert await found(elastic) == {}
    await take(processor, upserted("p", 4, n=4))
    assert await found(elastic) == {"p": {"n": 4}}


async def test_a_document_that_does_not_fit_is_set_aside_alone(
    processor: Processor, database_url: str, elastic: AsyncElasticsearch
) -> None:
    good = [upserted(f"p{n}", 1, size={"area": n}) for n in range(6)]
    bad = [upserted("bad1", 1, size="large"), upserted("bad2", 1, **{"": 1})]
    events = [*good[:3], bad[0], *good[3:5], bad[1], good[5]]
    await open_tasks(database_url, *events)
    await take(processor, *events)
    assert set(await found(elastic)) == {f"p{n}" for n in range(6)}
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        letters = await (await connection.execute("select event_id, reason from dead_letters order by event_id")).fetchall()
    assert letters == [(event.id, "document_refused") for event in bad]
    assert {(await task_of(database_url, event.id)).status for event in good} == {"done"}
    assert {(await task_of(database_url, event.id)).reason for event in bad} == {"document_refused"}


async def test_documents_that_do_not_fit_are_found_by_one_request(
    database_url: str, elasticsearch_server: str, elastic: AsyncElasticsearch
) -> None:
    requests: list[int] = []

    class Counting(Documents):
        async def write(self, changes: Sequence[Change]) -> list[str | None]:
            requests.append(len(changes))
            return await super().write(changes)

    good, bad = [upserted(f"p{n}", 1, area=n) for n in range(4)], [upserted(f"bad{n}", 1, area="large") for n in range(40)]
    async with (
        make_pool(database_url, size=2, name="test") as pool,
        AsyncElasticsearch(elasticsearch_server, request_timeout=30) as client,
    ):
        handler = SearchHandler(Counting(client, "properties"))
        await take(Processor(handler, pool, lanes=1, retry_max=timedelta(seconds=1)), *good[:2], *bad, *good[2:])
    assert set(await found(elastic)) == {f"p{n}" for n in range(4)}
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        letters = await (await connection.execute("select event_id, reason from dead_letters order by event_id")).fetchall()
    assert letters == [(event.id, "document_refused") for event in bad]
    assert requests == [44, 2, *[1] * 40, 2]


async def test_a_long_batch_is_alive(
    database_url: str, elasticsearch_server: str, elastic: AsyncElasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 0.0

    class Slow(Documents):
        async def _bulk(self, lines: Sequence[Any]) -> list[dict[str, Any]]:
            nonlocal at
            at += 40
            assert liveness([batches]) == {"live": True}
            return await super()._bulk(lines)

    batches = Heartbeat("search batches")
    monkeypatch.setattr(heartbeat, "now", lambda: at)
    monkeypatch.setattr(documents, "_CHUNK_BYTES", 1)
    async with (
        make_pool(database_url, size=2, name="test") as pool,
        AsyncElasticsearch(elasticsearch_server, request_timeout=30) as client,
    ):
        handler = SearchHandler(Slow(client, "properties"))
        processor = Processor(handler, pool, lanes=1, retry_max=timedelta(seconds=1), waiting=batches.beat)
        await take(processor, *(upserted(f"p{n}", 1, n=n) for n in range(4)))
    assert at == 160
    assert set(await found(elastic)) == {f"p{n}" for n in range(4)}


async def test_an_index_that_is_lost_is_made_again_and_never_by_chance(processor: Processor, elastic: AsyncElasticsearch) -> None:
    await take(processor, upserted("p", 1, n=1))
    await elastic.indices.delete(index="properties-1")
    await take(processor, upserted("q", 1, n=1), deleted("r", 1))
    assert await found(elastic) == {"q": {"n": 1}}
    assert list(await elastic.indices.get_alias(name="properties")) == ["properties-1"]


async def test_an_index_that_an_operator_put_under_the_alias_is_left_there(
    processor: Processor, elastic: AsyncElasticsearch
) -> None:
    await elastic.indices.create(index="properties-7", aliases={"properties": {}})
    await take(processor, upserted("p", 1, n=1))
    assert list(await elastic.indices.get(index="properties*")) == ["properties-7"]
    assert await found(elastic) == {"p": {"n": 1}}


async def name_taken(elastic: AsyncElasticsearch) -> Callable[[], Awaitable[Any]]:
    await elastic.indices.delete(index="properties-1")
    await elastic.indices.create(index="properties")
    return partial(elastic.indices.delete, index="properties")


async def index_closed(elastic: AsyncElasticsearch) -> Callable[[], Awaitable[Any]]:
    await elastic.indices.close(index="properties-1")
    return partial(elastic.indices.open, index="properties-1")


async def two_under_the_alias(elastic: AsyncElasticsearch) -> Callable[[], Awaitable[Any]]:
    await elastic.indices.create(index="properties-2", aliases={"properties": {}})
    return partial(elastic.indices.delete, index="properties-2")


async def template_taken(elastic: AsyncElasticsearch) -> Callable[[], Awaitable[Any]]:
    await elastic.indices.delete(index="properties-1")
    await elastic.indices.delete_index_template(name="tallyhook-properties")
    await elastic.indices.put_index_template(name="other", index_patterns=["prop*"], template={})
    return partial(elastic.indices.delete_index_template, name="other")


@pytest.mark.parametrize("spoil", [name_taken, index_closed, two_under_the_alias, template_taken])
async def test_a_fault_of_the_index_costs_no_document(
    processor: Processor,
    database_url: str,
    elastic: AsyncElasticsearch,
    spoil: Callable[[AsyncElasticsearch], Awaitable[Callable[[], Awaitable[Any]]]],
) -> None:
    await take(processor, upserted("p0", 1, n=0))
    events = [upserted("p1", 1, n=1), deleted("p0", 2)]
    await open_tasks(database_url, *events)
    mend = await spoil(elastic)
    working = asyncio.create_task(take(processor, *events))
    try:
        done, _ = await asyncio.wait({working}, timeout=1)
    finally:
        await mend()
    assert not done
    await asyncio.wait_for(working, LIMIT)
    assert await found(elastic) == {"p1": {"n": 1}}
    assert {(await task_of(database_url, event.id)).status for event in events} == {"done"}
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        assert await (await connection.execute("select from dead_letters")).fetchall() == []


async def test_a_text_that_looks_like_a_date_does_not_decide_for_others(
    processor: Processor, elastic: AsyncElasticsearch
) -> None:
    await take(processor, upserted("p", 1, built="2021-01-01"), upserted("q", 1, built="around 1900"))
    assert set(await found(elastic)) == {"p", "q"}


@pytest.mark.timeout(180)
async def test_elasticsearch_away_is_waited_for_and_nothing_is_lost(
    database_url: str, elasticsearch_node: Elasticsearch, elastic: AsyncElasticsearch
) -> None:
    events = [upserted(f"p{n}", 1, n=n) for n in range(20)]
    await open_tasks(database_url, *events)
    async with processing(database_url, elasticsearch_node.url, lanes=2) as processor:
        await take(processor, events[0])
        await asyncio.to_thread(elasticsearch_node.kill)
        try:
            working = asyncio.create_task(take(processor, *events))
            done, _ = await asyncio.wait({working}, timeout=1)
            assert not done
        finally:
            await asyncio.to_thread(elasticsearch_node.start)
        await asyncio.wait_for(working, LIMIT)
    assert await found(elastic) == {f"p{n}": {"n": n} for n in range(20)}
    assert {(await task_of(database_url, event.id)).status for event in events} == {"done"}


async def test_after_a_replay_no_version_is_used_again(
    database_url: str,
    elasticsearch_server: str,
    elastic: AsyncElasticsearch,  # noqa: ARG001  # an empty one first
) -> None:
    settings = SearchSettings(
        database_url=database_url, kafka_bootstrap_servers="unused:9092", elasticsearch_url=elasticsearch_server
    )
    async with make_pool(database_url, size=2, name="test") as pool, SEARCH.opened(settings, pool) as running:
        handler = running.handler
        assert isinstance(handler, RestoringHandler)
        async with pool.connection() as connection, connection.transaction():
            assert await take_version(connection, "properties", "p1", None) == 1  # the state of the backup
            await handler.restore(connection, [upserted("p1", 3, title="a"), upserted("p1", 4, title="b"), deleted("p2", 7)])
            assert await take_version(connection, "properties", "p1", None) == 5
            await handler.restore(connection, [upserted("p1", 3, title="a")])
            assert await take_version(connection, "properties", "p1", None) == 6
            assert await take_version(connection, "properties", "p2", None) == 8
