"""`Idempotency-Key`: the same request under the same key is executed once and gets the same answer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from gateway.commands import idempotency_store
from gateway.commands.idempotency_store import Claimed, InProgress, Key
from gateway.presence import Presence
from ops.processes.deletions import deletions
from outbox import tasks
from outbox.settings import RetentionSettings
from outbox.upkeep import keep_partitions
from runtime.ids import new_id
from tests.gateways import ADMIN, SERVICE, Gateway
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    import aiohttp

    from tests.gateways import StartGateway

CONFIG: Final = "/internal/v1/config"
INVALIDATE: Final = "/internal/v1/cache/invalidate"
KEYED: Final = {"Idempotency-Key": "order-1"}


async def reason(response: aiohttp.ClientResponse) -> tuple[int, str]:
    return response.status, (await response.json(content_type=None))["reason"]


async def open_task(gateway: Gateway) -> UUID:
    async def look() -> UUID | None:
        return next((row["id"] for row in await gateway.rows("tasks where status = 'pending'")), None)

    return await eventually(look)


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def present(database_url: str) -> AsyncIterator[Presence]:
    presence = Presence(database_url)
    await presence.open()
    await eventually(lambda: _shown(presence, presence.number))
    yield presence
    await presence.close()


async def _shown(presence: Presence, number: int | None) -> bool | None:
    return presence.shown == number or None


async def test_the_same_request_is_done_once_and_answered_alike(gateway: Gateway) -> None:
    first, second = [await gateway.ask(CONFIG, {"key": "k", "value": 1}, ADMIN | KEYED) for _ in range(2)]
    assert first.status == second.status == 200
    assert await first.read() == await second.read()
    assert second.content_type == "application/json"
    assert ("Idempotent-Replayed" in first.headers, "Idempotent-Replayed" in second.headers) == (False, True)
    assert [row["version"] for row in await gateway.rows("config_history")] == [1]


async def test_without_a_key_or_under_another_one_it_is_done_again(gateway: Gateway) -> None:
    for headers in (ADMIN, ADMIN, ADMIN | {"Idempotency-Key": "a"}, ADMIN | {"Idempotency-Key": "b"}):
        await gateway.ask(CONFIG, {"key": "k", "value": 1}, headers)
    assert len(await gateway.rows("config_history")) == 4


@pytest.mark.parametrize(
    ("path", "body"),
    [(CONFIG, {"key": "k", "value": 2}), (CONFIG + "?x=1", {"key": "k", "value": 1}), (INVALIDATE, {"keys": ["a"]})],
)
async def test_another_request_under_the_key_is_refused(gateway: Gateway, path: str, body: Any) -> None:
    await gateway.ask(CONFIG, {"key": "k", "value": 1}, ADMIN | KEYED)
    assert await reason(await gateway.ask(path, body, ADMIN | KEYED)) == (409, "idempotency_key_reused")
    assert len(await gateway.rows("config_history")) == 1


async def test_a_key_outlives_the_rotation_of_the_token(start_gateway: StartGateway) -> None:
    async with start_gateway(ADMIN_API_TOKEN="next,operator") as gateway:
        for token in ("operator", "next"):
            headers = {"X-Internal-Token": token} | KEYED
            assert (await gateway.ask(CONFIG, {"key": "k", "value": 1}, headers)).status == 200
        assert len(await gateway.rows("config_history")) == 1


async def test_services_and_operators_have_keys_of_their_own(gateway: Gateway) -> None:
    expected = {"reference": "order-1", "amount": 1, "currency": "usd"}
    for headers in (SERVICE, ADMIN):
        answer = await gateway.ask("/internal/v1/payments/expect", expected, headers | KEYED)
        assert (answer.status, "Idempotent-Replayed" in answer.headers) == (200, False)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "é"])
async def test_a_key_of_another_form_is_refused(gateway: Gateway, key: str) -> None:
    answer = await gateway.ask(CONFIG, {"key": "k", "value": 1}, ADMIN | {"Idempotency-Key": key})
    assert await reason(answer) == (400, "idempotency_key_malformed")


async def test_two_keys_of_one_call_are_refused(gateway: Gateway) -> None:
    headers = [*ADMIN.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    async with gateway.client.post(f"{gateway.internal}{CONFIG}", json={"key": "k", "value": 1}, headers=headers) as answer:
        assert await reason(answer) == (400, "idempotency_key_malformed")
    assert await gateway.rows("config") == []


async def test_a_stranger_binds_no_key(gateway: Gateway) -> None:
    assert (await gateway.ask(CONFIG, {"key": "k", "value": 1}, KEYED)).status == 401
    assert await gateway.rows("idempotency_keys") == []


async def test_after_a_refusal_the_key_is_free_for_the_right_request(gateway: Gateway) -> None:
    assert (await gateway.ask(CONFIG, {"key": "k"}, ADMIN | KEYED)).status == 422
    assert (await gateway.ask(CONFIG, {"key": "k", "value": 1}, ADMIN | KEYED)).status == 200


async def test_of_two_at_once_one_works_and_both_get_its_answer(gateway: Gateway, database_url: str) -> None:
    asking = [asyncio.create_task(gateway.ask(INVALIDATE, {"keys": ["a"]}, SERVICE | KEYED)) for _ in range(2)]
    task_id = await open_task(gateway)
    async with connected(database_url) as connection:
        await tasks.finish(connection, task_id, {"invalidated": 1})
    answers = await asyncio.gather(*asking)
    assert [await answer.json() for answer in answers] == [{"invalidated": 1}] * 2
    assert len(await gateway.rows("outbox")) == len(await gateway.rows("tasks")) == 1


async def test_a_call_while_another_one_works_for_long_gets_a_conflict(gateway: Gateway, database_url: str) -> None:
    working = asyncio.create_task(gateway.ask(INVALIDATE, {"keys": ["a"]}, SERVICE | KEYED))
    task_id = await open_task(gateway)
    asked_meanwhile = await gateway.ask(INVALIDATE, {"keys": ["a"]}, SERVICE | KEYED)
    assert await reason(asked_meanwhile) == (409, "idempotency_in_progress")
    async with connected(database_url) as connection:
        await tasks.finish(connection, task_id, {"invalidated": 1})
    assert (await working).status == 200


async def test_a_gateway_that_died_between_command_and_answer_makes_no_second_command(
    start_gateway: StartGateway, database_url: str
) -> None:
    async with start_gateway(COMMAND_WAIT="1ms") as gateway:
        first = await (await gateway.ask(INVALIDATE, {"keys": ["a"]}, SERVICE | KEYED)).json()
        async with connected(database_url) as connection:
            await connection.execute(
                "update idempotency_keys set status = null, body = null, content_type = null, claimed_until = now()"
            )
        again = await (await gateway.ask(INVALIDATE, {"keys": ["a"]}, SERVICE | KEYED)).json()
        assert again == first
        assert len(await gateway.rows("outbox")) == len(await gateway.rows("tasks")) == 1
        # Each call keeps its own id, under which it is in the audit log; the command has the id of the first one.
        await gateway.resources.audit.flush()
        one, other = [str(row["id"]) for row in await gateway.rows("audit_log")]
        assert one == first["taskId"] != other


async def test_the_key_of_a_process_that_is_gone_is_taken_over_at_once_and_that_of_a_living_one_is_not(database_url: str) -> None:
    key, first = Key("service", "k", b"digest"), new_id()
    async with present(database_url) as other, connected(database_url) as connection:
        async with present(database_url) as dying:
            assert await idempotency_store.claim(connection, key, first, dying.shown) == Claimed(first)
            assert await idempotency_store.claim(connection, key, new_id(), other.shown) == InProgress()

        # Only the end of its holder frees it, as soon as Postgres sees the connection close.
        await connection.execute("update idempotency_keys set claimed_until = 'infinity'")

        async def taken_over() -> bool | None:
            return await idempotency_store.claim(connection, key, new_id(), other.shown) == Claimed(first) or None

        await eventually(taken_over)
        assert await idempotency_store.claim(connection, key, new_id(), other.shown) == InProgress()


async def test_a_process_is_present_again_after_postgres_was_away(database_url: str) -> None:
    async with present(database_url) as presence, connected(database_url) as connection:
        number = presence.shown
        await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%presence'")
        await eventually(lambda: _shown(presence, None))
        assert await eventually(lambda: _shown(presence, number)) is True


async def test_a_change_of_the_config_that_broke_off_is_not_made_twice(gateway: Gateway, database_url: str) -> None:
    change = {"key": "k", "value": 1, "expectedVersion": 0}
    first = await (await gateway.ask(CONFIG, change, ADMIN | KEYED)).json()
    async with connected(database_url) as connection:
        await connection.execute(
            "update idempotency_keys set status = null, body = null, content_type = null, claimed_until = now()"
        )
    assert await (await gateway.ask(CONFIG, change, ADMIN | KEYED)).json() == first
    assert len(await gateway.rows("config_history")) == 1


async def test_a_key_is_free_again_when_its_time_is_over(gateway: Gateway, database_url: str) -> None:
    await gateway.ask(CONFIG, {"key": "k", "value": 1}, ADMIN | KEYED)
    async with connected(database_url) as connection:
        await idempotency_store.claim(connection, Key("admin", "younger", b""), new_id())
        age = idempotency_store.KEPT + timedelta(seconds=1)
        await connection.execute("update idempotency_keys set created_at = now() - %s where key = 'order-1'", (age,))
    await asyncio.to_thread(keep_partitions, RetentionSettings.load({"DATABASE_URL": database_url}), *deletions({}))
    assert [row["key"] for row in await gateway.rows("idempotency_keys")] == ["younger"]
