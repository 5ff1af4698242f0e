"""Answers to a bulk request, of a server that is none of Elasticsearch: only an answer about a document costs that document."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from elasticsearch import AsyncElasticsearch

from runtime.addresses import LOOPBACK
from streams.errors import Transient
from streams.search.documents import Change, Documents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHANGES = [Change("1", 1, b"{}"), Change("2", 1, b"{}")]
DONE = {"status": 201}


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[Documents]:
    """Run a server that takes the index's template, and answers a bulk request so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        sent = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), b":0")
        await reader.readexactly(int(sent.partition(b":")[2]))
        answered, text = (status, body) if b"/_bulk" in head else (200, b"{}")
        lines = [f"HTTP/1.1 {answered} X", f"Content-Length: {len(text)}", "Connection: close", "Content-Type: application/json"]
        writer.write("\r\n".join([*lines, "X-Elastic-Product: Elasticsearch", "", ""]).encode())
        writer.write(b"" if head.startswith(b"HEAD") else text)
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server:
        url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        async with AsyncElasticsearch(url, request_timeout=5, max_retries=0) as client:
            yield Documents(client, "properties")


def items(*outcomes: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"items": [{"index": outcome} for outcome in outcomes]})


def refused(status: int, kind: str, reason: str | None = "why") -> dict[str, Any]:
    return {"status": status, "error": {"type": kind, "reason": reason}}


@pytest.mark.parametrize(
    "outcome",
    [
        refused(429, "es_rejected_execution_exception"),
        refused(429, "cluster_block_exception"),
        refused(503, "unavailable_shards_exception"),
        refused(404, "index_not_found_exception"),
        refused(400, "index_closed_exception"),
        refused(400, "illegal_argument_exception", "pipeline with id [lost] does not exist"),
        refused(400, "illegal_argument_exception", "number of documents in the index cannot exceed 2147483519"),
        refused(400, "illegal_argument_exception", "Number of documents in the index can't exceed [2147483519]"),
    ],
    ids=str,
)
async def test_a_fault_of_the_index_is_no_fault_of_the_document(outcome: dict[str, Any]) -> None:
    async with answering(200, items(DONE, outcome)) as documents:
        with pytest.raises(Transient):
            await documents.write(CHANGES)


@pytest.mark.parametrize(
    ("outcome", "detail"),
    [
        (refused(400, "document_parsing_exception"), "document_parsing_exception: why"),
        (refused(400, "document_parsing_exception", None), "document_parsing_exception: None"),
        ({"status": 400}, "error_unknown: None"),
    ],
)
async def test_a_refused_document_is_refused_alone(outcome: dict[str, Any], detail: str) -> None:
    async with answering(200, items(refused(409, "version_conflict_engine_exception"), outcome)) as documents:
        assert await documents.write(CHANGES) == [None, detail]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"{}"),
        (200, b"[]"),
        (200, b'"text"'),
        (200, items(DONE)),
        (200, b'{"items": [{"index": {"status": 400, "error": "text"}}, {"index": {"status": 201}}]}'),
        (200, b"<html>"),
        (400, b'"The plain HTTP request was sent to HTTPS port"'),
        (400, b'{"message": "Bad Request"}'),
        (502, b'"bad gateway"'),
    ],
)
async def test_an_answer_that_is_none_of_a_bulk_request_costs_no_document(status: int, body: bytes) -> None:
    """Each document of such a batch became a dead letter, `handler_failed`."""
    async with answering(status, body) as documents:
        with pytest.raises(Transient):
            await documents.write(CHANGES)
