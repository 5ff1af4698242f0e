"""`POST /internal/v1/search/index`: what it takes, what it refuses, and which version a change gets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.gateways import SERVICE

if TYPE_CHECKING:
    from tests.gateways import Gateway

UPSERT: dict[str, Any] = {"index": "properties", "id": "p1", "op": "upsert", "doc": {"title": "Küche"}}


async def index(gateway: Gateway, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    url = f"{gateway.internal}/internal/v1/search/index"
    async with gateway.client.post(url, json=body, headers=SERVICE | headers) as response:
        return response.status, await response.json(content_type=None)


async def test_an_upsert_is_accepted_with_a_task_and_appended_under_the_id_of_its_document(gateway: Gateway) -> None:
    status, answer = await index(gateway, UPSERT)
    assert (status, answer["accepted"]) == (202, True)
    [event] = await gateway.rows("outbox")
    assert (str(event["id"]), event["topic"], event["type"]) == (answer["taskId"], "property.events", "property.upserted")
    assert (event["aggregate_type"], event["aggregate_id"], event["aggregate_version"]) == ("property", "p1", 1)
    assert orjson.loads(event["data"]) == {"id": "p1", "version": 1, "doc": {"title": "Küche"}}
    [task] = await gateway.rows("tasks")
    assert (task["id"], task["kind"], task["status"]) == (event["id"], "search.index", "pending")


async def test_a_delete_is_appended_without_the_document(gateway: Gateway) -> None:
    assert (await index(gateway, UPSERT | {"op": "delete"}))[0] == 202
    [event] = await gateway.rows("outbox")
    assert event["type"] == "property.deleted"
    assert orjson.loads(event["data"]) == {"id": "p1", "version": 1}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([None, None, None], [1, 2, 3]),
        ([None, 40, None], [1, 40, 41]),
        ([7, 3, None], [7, 3, 8]),
        ([0, None], [0, 1]),
        ([2**62, None], [2**62, 2**62 + 1]),
    ],
)
async def test_a_change_has_the_version_that_is_given_or_the_one_after_the_highest(
    gateway: Gateway, given: list[int | None], taken: list[int]
) -> None:
    for version in given:
        body = UPSERT if version is None else UPSERT | {"version": version}
        assert (await index(gateway, body))[0] == 202
    events = await gateway.rows("outbox")
    assert [event["aggregate_version"] for event in events] == taken


async def test_changes_at_once_get_versions_of_their_own_and_are_appended_in_their_order(gateway: Gateway) -> None:
    answers = await asyncio.gather(*(index(gateway, UPSERT) for _ in range(30)))
    assert {status for status, _ in answers} == {202}
    rows = await gateway.rows("(select p.id, o.aggregate_version from outbox_pending p join outbox o on o.id = p.event_id) t")
    assert [row["aggregate_version"] for row in sorted(rows, key=lambda row: row["id"])] == list(range(1, 31))


async def test_documents_do_not_share_versions(gateway: Gateway) -> None:
    for name in ("a", "b"):
        await index(gateway, UPSERT | {"id": name})
    assert [row["version"] for row in await gateway.rows("search_documents")] == [1, 1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"index": "people"}, "index_unknown"),
        ({"op": "merge"}, "field_invalid"),
        ({"doc": None}, "field_invalid"),
        ({"doc": [1]}, "field_invalid"),
        ({"doc": {"deleted": True}}, "field_invalid"),
        ({"id": ""}, "field_invalid"),
        ({"id": "a\x00b"}, "field_invalid"),
        ({"id": "ü" * 257}, "field_invalid"),
        ({"version": -1}, "field_invalid"),
        ({"version": 2**62 + 1}, "field_invalid"),
        ({"version": "1"}, "field_invalid"),
    ],
)
async def test_a_refused_command_is_not_stored(gateway: Gateway, change: dict[str, Any], reason: str) -> None:
    status, answer = await index(gateway, UPSERT | change)
    assert (status, answer["reason"]) == (422, reason)
    assert await gateway.rows("outbox") == await gateway.rows("search_documents") == []


async def test_it_needs_a_token_and_json(gateway: Gateway) -> None:
    status, answer = await index(gateway, UPSERT, **{"X-Internal-Token": "wrong"})
    assert (status, answer["reason"]) == (401, "token_wrong")
    status, answer = await index(gateway, UPSERT, **{"Content-Type": "text/plain"})
    assert (status, answer["reason"]) == (415, "content_type_not_json")
