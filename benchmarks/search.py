"""Documents a second through the search worker, with their marks and tasks, beside Elasticsearch's bulk helper alone."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, LiteralString

import msgspec
from elasticsearch import AsyncElasticsearch, helpers

from benchmarks.figures import Aim, Result, Void, expect, median, ratio
from benchmarks.other_process import in_other_process
from benchmarks.producer import Ready, produce
from benchmarks.system import Running, System, system
from runtime.ids import new_id
from runtime.tracing import new_trace
from schemas.envelope import Event, to_headers
from schemas.registry import type_of
from schemas.search import PROPERTIES, PropertyUpserted
from schemas.topics import Topic
from streams.search.documents import TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from psycopg import Connection

    from benchmarks.figures import Scale
    from benchmarks.system import Report

DOCUMENTS: Final = 50_000
WORKER: Final = "worker-search"
_BARE: Final = "bare"
_TEXT: Final = "bright rooms near the station with a view of the river and a garden that wants some care "
_LOOK_EVERY: Final = 0.5  # seconds
_LIMIT: Final = 300.0  # seconds for one round
_WARM: Final = 1.0  # size of the warm-up as a share of a round: Elasticsearch's Java compiles its frequent code


def run(scale: Scale, report: Report) -> Result:
    documents = scale.count(DOCUMENTS)
    worked: list[float] = []
    bare: list[float] = []
    with system("postgres", "kafka", "elasticsearch", report=report) as ours:
        for number in range(scale.rounds + 1):
            size = documents if number else max(1, round(documents * _WARM))
            report("search", f"round {number} of {scale.rounds}: worker, {size:,} documents")
            rates = _work(ours, size), _work_bare(ours, size)
            if number:
                worked.append(rates[0])
                bare.append(rates[1])
    figures = [
        median("indexed, each task settled", worked, "documents/s"),
        ratio("indexed ÷ bulk helper alone", worked, bare, Aim(at_least=0.6)),
        median("async_streaming_bulk, the same documents", bare, "documents/s"),
    ]
    return Result("search", figures, ["bulk helper: its own defaults and external versions, as the worker has; round 0 warms up"])


def document(number: int) -> dict[str, Any]:
    """Return the description of a property, of almost 1 KB."""
    return {
        "title": f"Flat {number}",
        "city": ("Berlin", "Hamburg", "Leipzig", "Bremen")[number % 4],
        "rooms": number % 7 + 1,
        "price": 1000 * (number % 900),
        "location": {"lat": 52 + number % 100 / 100, "lon": 13 + number % 70 / 100},
        "tags": [f"tag-{number % 13}", f"tag-{number % 29}"],
        "description": _TEXT * 7,
    }


def preload(bootstrap: str, ids: list[UUID]) -> int:
    """Produce a document for each id to the topic, as the gateway and the relay do."""
    return produce(bootstrap, [_record(event_id, number) for number, event_id in enumerate(ids)])


def _record(event_id: UUID, number: int) -> Ready:
    upsert = PropertyUpserted(id=f"p{number}", version=1, doc=document(number))
    event = Event(
        id=event_id,
        topic=Topic.PROPERTIES,
        source="/internal/search",
        type=type_of(upsert).name,
        aggregate_id=upsert.id,
        occurred_at=datetime.now(UTC),
        dataschema=type_of(upsert).dataschema,
        traceparent=new_trace().traceparent,
        data=msgspec.json.encode(upsert),
    )
    return Ready(event.topic, event.data, event.aggregate_id, to_headers(event))


def _work(ours: System, documents: int) -> float:
    """Write a backlog, start a worker, and return the documents a second."""
    ours.empty()
    ids = [new_id() for _ in range(documents)]
    with ours.connect() as connection:
        connection.execute("truncate tasks")
        connection.execute("insert into tasks (id, kind) select id, 'search.index' from unnest(%s::uuid[]) as t(id)", (ids,))
        connection.execute("vacuum (analyze) tasks")
    asyncio.run(_clear(ours))
    with in_other_process(preload, ours.bootstrap, ids) as acknowledged_within:
        expect("documents on Kafka", acknowledged_within(_LIMIT), documents)
    with ours.running(WORKER) as [worker]:
        seconds, counted = _until_done(ours, worker, documents)
    expect("tasks done", ours.count("tasks where status = 'done'"), documents)
    expect("rows of dead_letters", ours.count("dead_letters"), 0)
    expect("documents found", asyncio.run(_found(ours, PROPERTIES.name)), documents)
    return counted / seconds


def _until_done(ours: System, worker: Running, documents: int) -> tuple[float, int]:
    """
    Return the seconds between the first and the last transaction, and the number of documents after the first.

    The times come from the tasks, so that watching costs almost nothing. If all documents were in one transaction, the seconds
    are those of this call.
    """
    started = time.monotonic()
    deadline = started + _LIMIT
    with ours.connect() as connection:
        while (done := _number(connection, "select count(*) from consumed where consumer = 'search'")) < documents:
            if time.monotonic() > deadline:
                raise Void(f"only {done:,} of {documents:,} documents were indexed within {_LIMIT:.0f} s")
            worker.check()
            time.sleep(_LOOK_EVERY)
        seconds = _number(connection, "select extract(epoch from max(settled_at) - min(settled_at)) from tasks")
        later = _number(connection, "select count(*) from tasks where settled_at > (select min(settled_at) from tasks)")
    return (seconds, int(later)) if later else (time.monotonic() - started, documents)


def _number(connection: Connection, query: LiteralString) -> float:
    row = connection.execute(query).fetchone()
    return float(row[0]) if row else 0.0


def _work_bare(ours: System, documents: int) -> float:
    """Index the same documents with the helper alone, in another process."""
    with in_other_process(bulk, ours.stack.elasticsearch.url, documents) as rate_within:
        rate = rate_within(_LIMIT)
    expect("documents that the helper wrote", asyncio.run(_found(ours, _BARE)), documents)
    return rate


def bulk(url: str, documents: int) -> float:
    return asyncio.run(_bulk(url, documents))


async def _bulk(url: str, documents: int) -> float:
    actions = list(_actions(documents))
    async with AsyncElasticsearch(url, request_timeout=60) as client:
        await client.indices.delete(index=_BARE, ignore_unavailable=True)
        await client.indices.create(index=_BARE, settings=TEMPLATE["settings"], mappings=TEMPLATE["mappings"])
        started = time.monotonic()
        async for taken, item in helpers.async_streaming_bulk(client, actions):
            if not taken:
                raise Void(f"the helper was refused: {item}")
        return documents / (time.monotonic() - started)


def _actions(documents: int) -> Iterator[dict[str, Any]]:
    for number in range(documents):
        versioned = {"version": 1, "version_type": "external"}
        yield {"_op_type": "index", "_index": _BARE, "_id": f"p{number}", **versioned, "_source": document(number)}


async def _clear(ours: System) -> None:
    async with AsyncElasticsearch(ours.stack.elasticsearch.url) as client:
        await client.indices.delete(index=f"{PROPERTIES.name}-1", ignore_unavailable=True)


async def _found(ours: System, index: str) -> int:
    async with AsyncElasticsearch(ours.stack.elasticsearch.url, request_timeout=60) as client:
        await client.indices.refresh(index=index)
        return int((await client.count(index=index))["count"])
