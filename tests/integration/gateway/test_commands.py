"""Commands: durable before they are answered, waited for by LISTEN, with a task that shows the result."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
import pytest

from gateway.commands.settlements import Settlements
from outbox import tasks
from runtime.ids import new_id
from tests.gateways import ADMIN, SERVICE, Gateway
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.gateways import StartGateway, Wire

INVALIDATE: Final = "/internal/v1/cache/invalidate"


async def ask(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    response = await gateway.ask(INVALIDATE, {"keys": ["a"]}, SERVICE)
    return response.status, await response.json(content_type=None)


async def open_task(gateway: Gateway) -> UUID:
    async def look() -> UUID | None:
        return next((row["id"] for row in await gateway.rows("tasks where status = 'pending'")), None)

    return await eventually(look)


async def known_to(gateway: Gateway, task_id: UUID) -> None:
    """
    Return when the gateway itself knows that the command is committed, and waits for its effect.

    Another connection sees the row earlier; a gateway that loses Postgres between the two rightly answers 503.
    """

    async def look() -> bool | None:
        return task_id in gateway.resources.settlements._waiting or None

    await eventually(look)


async def settle(database_url: str, task_id: UUID, reason: str | None = None) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        if reason:
            await tasks.fail(connection, task_id, reason)
        else:
            await tasks.finish(connection, task_id, {"invalidated": 1})


async def test_a_waiting_call_is_woken_by_the_worker_and_not_by_a_clock(
    start_gateway: StartGateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.commands.settlements._READ_EVERY", 3600)
    async with start_gateway(COMMAND_WAIT="60s") as gateway:
        asking = asyncio.create_task(ask(gateway))
        await settle(database_url, await open_task(gateway))
        assert await asking == (200, {"invalidated": 1})


async def test_many_wait_for_their_own_tasks(gateway: Gateway, database_url: str) -> None:
    asking = [asyncio.create_task(ask(gateway)) for _ in range(20)]

    async def all_open() -> list[dict[str, Any]] | None:
        rows = await gateway.rows("tasks")
        return rows if len(rows) == len(asking) else None

    for row in await eventually(all_open):
        await settle(database_url, row["id"])
    assert [status for status, _ in await asyncio.gather(*asking)] == [200] * len(asking)


async def test_a_hint_that_was_lost_with_its_connection_delays_the_answer_only(
    start_gateway: StartGateway, wire: Wire, database_url: str
) -> None:
    async with start_gateway(DATABASE_URL=wire.url) as gateway:
        asking = asyncio.create_task(ask(gateway))
        task_id = await open_task(gateway)
        wire.cut()
        await settle(database_url, task_id)
        wire.mend()
        assert await asking == (200, {"invalidated": 1})


async def test_a_command_is_accepted_though_postgres_goes_away_while_its_effect_is_awaited(
    start_gateway: StartGateway, wire: Wire
) -> None:
    async with start_gateway(DATABASE_URL=wire.url, COMMAND_WAIT="2s") as gateway:
        asking = asyncio.create_task(ask(gateway))
        task_id = await open_task(gateway)
        await known_to(gateway, task_id)
        wire.cut()
        status, answer = await asking
        assert (status, answer) == (202, {"accepted": True, "taskId": str(task_id)})
        wire.mend()


async def test_a_command_that_cannot_be_written_is_refused(start_gateway: StartGateway, wire: Wire) -> None:
    async with start_gateway(DATABASE_URL=wire.url) as gateway:
        wire.cut()
        status, answer = await ask(gateway)
        assert (status, answer["reason"]) == (503, "postgres_unavailable")
        wire.mend()


@pytest.mark.parametrize(("reason", "outcome"), [(None, {"result": {"invalidated": 1}}), ("gone", {"reason": "gone"})])
async def test_a_task_has_the_result_of_its_command(
    start_gateway: StartGateway, database_url: str, reason: str | None, outcome: dict[str, Any]
) -> None:
    async with start_gateway(COMMAND_WAIT="1ms") as gateway:
        _, answer = await ask(gateway)
        path = f"/internal/v1/tasks/{answer['taskId']}"
        pending = await (await gateway.get(path, SERVICE)).json()
        assert (pending["taskId"], pending["kind"], pending["status"]) == (answer["taskId"], "cache.invalidate", "pending")
        assert not {"result", "reason"} & set(pending)
        await settle(database_url, UUID(answer["taskId"]), reason)
        settled = await (await gateway.get(path, ADMIN)).json()
        assert settled["status"] == ("failed" if reason else "done")
        assert settled.items() >= outcome.items()


async def test_a_task_that_was_never_opened_is_not_found(gateway: Gateway) -> None:
    for unknown in (new_id(), "0", "01234567-89ab-4def-8123-456789abcdef"):
        assert (await gateway.get(f"/internal/v1/tasks/{unknown}", SERVICE)).status == 404
    assert (await gateway.get(f"/internal/v1/tasks/{new_id()}", {})).status == 401


async def test_a_caller_that_has_stopped_waiting_is_forgotten(database_url: str) -> None:
    settlements = Settlements(database_url)
    with settlements.expecting(new_id()), settlements.expecting(new_id()):
        assert len(settlements._waiting) == 2
    assert not settlements._waiting
