"""Runtime configuration: read by services, changed by operators, followed by clients of its stream."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
import structlog

from projections import config_view
from tests.gateways import ADMIN, SERVICE, Gateway
from tests.waiting import eventually

if TYPE_CHECKING:
    import aiohttp

    from projections.config_view import Config
    from tests.gateways import StartGateway, Wire

PATH: Final = "/internal/v1/config"


async def change(gateway: Gateway, key: str, value: Any, headers: dict[str, str] = ADMIN, **more: Any) -> aiohttp.ClientResponse:
    return await gateway.ask(PATH, {"key": key, "value": value} | more, headers)


async def reason(response: aiohttp.ClientResponse) -> str:
    return str((await response.json())["reason"])


async def test_set_values_are_read_one_by_one_and_all_together(gateway: Gateway) -> None:
    answer = await change(gateway, "lead.max_attempts", 7)
    assert (answer.status, await answer.json()) == (200, {"key": "lead.max_attempts", "value": 7, "version": 1})
    await change(gateway, "shop.sms", {"paused": True})
    one = await gateway.get(f"{PATH}?key=lead.max_attempts", SERVICE)
    assert one.status == 200
    shown = await one.json()
    assert (shown["key"], shown["value"], shown["version"]) == ("lead.max_attempts", 7, 1)
    assert shown["updatedAt"].endswith("Z")
    items = (await (await gateway.get(PATH, SERVICE)).json())["items"]
    assert [(item["key"], item["value"]) for item in items] == [("lead.max_attempts", 7), ("shop.sms", {"paused": True})]


async def test_a_key_that_was_never_set_is_not_found(gateway: Gateway) -> None:
    assert (await gateway.get(f"{PATH}?key=nothing", SERVICE)).status == 404
    assert await (await gateway.get(PATH, SERVICE)).json() == {"items": []}


async def test_the_history_of_a_key_is_read_page_by_page_newest_first(gateway: Gateway) -> None:
    for value in (1, 2, 3):
        await change(gateway, "other", None)
        await change(gateway, "k", value)
    found, path = [], f"{PATH}/history?key=k&limit=2"
    while path:
        page = await (await gateway.get(path)).json()
        found += [(item["key"], item["value"], item["version"]) for item in page["items"]]
        path = f"{PATH}/history?key=k&limit=2&cursor={page['next']}" if "next" in page else ""
    assert found == [("k", 3, 3), ("k", 2, 2), ("k", 1, 1)]
    every = await (await gateway.get(f"{PATH}/history")).json()
    assert [item["key"] for item in every["items"]] == ["k", "other"] * 3
    assert {item["changedBy"] for item in every["items"]} == {row["changed_by"] for row in await gateway.rows("config_history")}


async def test_the_history_is_for_operators(gateway: Gateway) -> None:
    answer = await gateway.get(f"{PATH}/history", SERVICE)
    assert (answer.status, await reason(answer)) == (403, "admin_token_needed")
    assert await reason(await gateway.get(f"{PATH}/history?kye=k")) == "query_malformed"


async def test_every_change_is_kept_and_streamed(gateway: Gateway) -> None:
    for value in ("a", None):
        await change(gateway, "greeting", value)
    history = sorted(await gateway.rows("config_history"), key=lambda row: row["version"])
    assert [(row["version"], row["value"]) for row in history] == [(1, "a"), (2, None)]
    events = await gateway.rows("outbox")
    assert [(event["topic"], event["type"], event["aggregate_id"], event["aggregate_version"]) for event in events] == [
        ("config.events", "config.changed", "greeting", 1),
        ("config.events", "config.changed", "greeting", 2),
    ]
    streamed = msgspec.json.decode(events[1]["data"])
    assert streamed == {"key": "greeting", "value": None, "version": 2, "changedBy": history[1]["changed_by"]}
    assert events[1]["id"] == history[1]["id"]


@pytest.mark.parametrize(("expected", "status"), [(0, 409), (1, 409), (2, 200), (3, 409), (None, 200)])
async def test_a_stale_version_changes_nothing(gateway: Gateway, expected: int | None, status: int) -> None:
    await change(gateway, "k", 1)
    await change(gateway, "k", 2)
    answer = await change(gateway, "k", 3, expectedVersion=expected)
    assert answer.status == status
    assert len(await gateway.rows("config_history")) == (3 if status == 200 else 2)
    if status == 409:
        assert await reason(answer) == "version_stale"


async def test_version_zero_expects_an_unknown_key(gateway: Gateway) -> None:
    assert (await change(gateway, "k", 1, expectedVersion=0)).status == 200
    assert (await change(gateway, "unknown", 1, expectedVersion=1)).status == 409


async def test_of_two_changes_of_one_version_one_wins(gateway: Gateway) -> None:
    answers = await asyncio.gather(*(change(gateway, "k", n, expectedVersion=0) for n in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7


async def test_a_service_reads_but_does_not_change(gateway: Gateway) -> None:
    answer = await change(gateway, "k", 1, SERVICE)
    assert (answer.status, await reason(answer)) == (403, "admin_token_needed")
    assert await gateway.rows("config") == []
    assert (await change(gateway, "k", 1, {})).status == 401
    assert (await gateway.get(PATH, {})).status == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"key":"k"}', 422),
        (b'{"value":1}', 422),
        (b'{"key":"","value":1}', 422),
        (b'{"key":"two words","value":1}', 422),
        (b'{"key":"k","value":1,"expectedVersion":-1}', 422),
        (b'{"key":"k","value":1,"expectedversion":1}', 422),
        (b'{"key":"k\\n","value":1}', 422),
        (b'{"key":"k","value":"a\\u0000"}', 422),
        (b'{"key":"k","value":{"a":["b",{"c\\u0000":1}]}}', 422),
        (b'{"key":"k","value":"\\ud800"}', 400),
        (b'{"key":"k","value":1e999}', 422),
        (b'{"key":"k","value":' + b"9" * 5000 + b"}", 422),
        (b'{"key":"k","value":' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
        (b'{"key":"k","value":' + b"[" * 200 + b"]" * 200 + b"}", 400),
        (b'{"key":"k","value":"' + b"x" * 66_000 + b'"}', 422),
        (b'\xef\xbb\xbf{"key":"k","value":1}', 400),
        (b'{"key":"k","value":"\xff"}', 400),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused(gateway: Gateway, body: bytes, status: int) -> None:
    headers = ADMIN | {"Content-Type": "application/json"}
    response = await gateway.client.post(f"{gateway.internal}{PATH}", data=body, headers=headers)
    assert response.status == status
    assert await gateway.rows("config") == []


@pytest.mark.parametrize(
    "value", [r'"\\u0000"', r'"a\\\\u0000"', '{"\\\\u0000":[0.5,123456789012345678901234567890]}', "[" * 60 + "]" * 60]
)
async def test_an_unusual_value_is_kept_unchanged(gateway: Gateway, value: str) -> None:
    headers = ADMIN | {"Content-Type": "application/json"}
    response = await gateway.client.post(f"{gateway.internal}{PATH}", data=f'{{"key":"k","value":{value}}}', headers=headers)
    assert response.status == 200
    for path in (f"{PATH}?key=k", PATH, f"{PATH}/history"):
        shown = await (await gateway.get(path)).json()
        assert (shown["items"][0] if "items" in shown else shown)["value"] == json.loads(value)


async def test_a_value_or_a_key_that_nothing_could_use_is_refused(start_gateway: StartGateway) -> None:
    async with start_gateway(PARTNER_ACME_SECRET="acme") as gateway:
        refused = {
            ("rate_limit.webhooks", "99999999999999999999/second"): "config_value_invalid",
            ("rate_limit.webhooks", "0/second"): "config_value_invalid",
            ("partner.ACME.paused", "yes"): "config_value_invalid",
            ("partner.ACMEE.paused", True): "config_key_unknown",
            ("partner.acme.paused", True): "config_key_unknown",
        }
        for (key, value), word in refused.items():
            answer = await change(gateway, key, value)
            assert (answer.status, await reason(answer)) == (422, word)
        assert "1 to 1000000 calls" in (await (await change(gateway, "rate_limit.partners", 5)).json())["detail"]
        assert await gateway.rows("config") == []
        assert (await change(gateway, "partner.ACME.paused", True)).status == 200


async def test_a_value_that_sql_wrote_is_ignored_logged_once_and_shown(gateway: Gateway, database_url: str) -> None:
    await change(gateway, "lead.max_attempts", 3)
    async with config_view.following(database_url) as followed:
        with structlog.testing.capture_logs() as lines:
            for value in ("9" * 5000, "[" * 5000 + "]" * 5000, "0"):
                await gateway.overwrite_config("lead.max_attempts", value)
                await eventually(lambda: _unusable(followed, 1))
                await change(gateway, "lead.max_attempts", 3)
                await eventually(lambda: _unusable(followed, 0))
        assert followed.get("lead.max_attempts", 8) == 3
        ignored = [line["key"] for line in lines if line["event"] == "config_ignored"]
        assert set(ignored) == {"lead.max_attempts"}
        assert 3 <= len(ignored) <= 6  # the gateway follows too, and may have been late for one
        await gateway.overwrite_config("lead.max_attempts", "-1")
        assert (await gateway.get(f"{PATH}?key=lead.max_attempts")).status == 200
        async with config_view.following(database_url) as begun_later:
            assert begun_later.get("lead.max_attempts", 8) == 3
    alerts = [msgspec.json.decode(row["data"]) for row in await gateway.rows("outbox") if row["type"] == "alert.raised"]
    assert [(alert["alert"], alert["subject"]) for alert in alerts] == [("config_ignored", "lead.max_attempts")]


async def test_a_value_that_cannot_be_used_is_logged_once_a_change_and_not_at_every_read(
    start_gateway: StartGateway, database_url: str
) -> None:
    async with start_gateway(PARTNER_ACME_SECRET="s") as gateway, config_view.following(database_url) as followed:
        await change(gateway, "partner.ACME.paused", False)
        with structlog.testing.capture_logs() as lines:
            for value in ('"yes"', '"no"'):
                before = len(lines)
                await gateway.overwrite_config("partner.ACME.paused", value)
                await eventually(lambda before=before: _is_logged(lines, before))
                for number in range(1, 6):  # each is another look at all keys
                    await change(gateway, "lead.max_attempts", number)
                    await eventually(lambda number=number: _seen(followed, number))
                assert followed.get("partner.ACME.paused", True) is False
    ignored = [line for line in lines if line["event"] == "config_ignored"]
    assert 2 <= len(ignored) <= 4  # two followers, this one and the gateway's, once for each of two values


async def _is_logged(lines: list[Any], before: int) -> bool | None:
    return any(line["event"] == "config_ignored" for line in lines[before:]) or None


async def _unusable(followed: Config, number: int) -> bool | None:
    return True if followed.unusable == number else None


async def test_a_follower_sees_a_change_by_itself(gateway: Gateway, database_url: str) -> None:
    await change(gateway, "lead.max_attempts", 3)
    async with config_view.following(database_url) as followed:
        assert followed.get("lead.max_attempts", 8) == 3
        assert followed.get("lead.unknown", 8) == 8
        await change(gateway, "lead.max_attempts", 4)
        await eventually(lambda: _seen(followed, 4))
        await change(gateway, "lead.max_attempts", None)
        await eventually(lambda: _seen(followed, 8))


async def test_a_follower_keeps_its_values_while_postgres_is_away(start_gateway: StartGateway, wire: Wire) -> None:
    async with start_gateway() as gateway:
        await change(gateway, "lead.max_attempts", 3)
        async with config_view.following(wire.url) as followed:
            wire.cut()
            await change(gateway, "lead.max_attempts", 4)
            assert followed.get("lead.max_attempts", 8) == 3
            wire.mend()
            await eventually(lambda: _seen(followed, 4))


async def _seen(followed: Config, wanted: int) -> bool | None:
    return True if followed.get("lead.max_attempts", 8) == wanted else None
