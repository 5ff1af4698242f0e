"""Replays of webhooks by a gateway: helpers that start one, and that play the relay and the worker for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tests.gateways import ADMIN
from tests.simulators import stripe
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from tests.gateways import Gateway

WRONG: Final = "whsec_wrong"


async def post(gateway: Gateway, path: str, body: Any, headers: dict[str, str] = ADMIN) -> tuple[int, Any]:
    answer = await gateway.ask(path, body, headers)
    return answer.status, await answer.json(content_type=None)


async def replayed(gateway: Gateway, **asked: Any) -> dict[str, Any]:
    """Start a replay and wait for its end."""
    status, begun = await post(gateway, "/v1/admin/webhooks/replay", {"rate": 1000, **asked})
    assert status == 202, begun
    return await ended(gateway, begun["replayId"])


async def ended(gateway: Gateway, replay_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await progress(gateway, replay_id)
        return None if found["state"] == "running" else found

    return await eventually(look)


async def progress(gateway: Gateway, replay_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await (await gateway.get(f"/v1/admin/replays/{replay_id}")).json()
    assert found["matched"] == sum(found[part] for part in ("waiting", "inFlight", "processed", "unchanged", "failed"))
    return found


def figures(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("state", "matched", "enqueued", "processed", "unchanged", "failed") if found[name]}


@asynccontextmanager
async def database(gateway: Gateway) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(gateway._database_url, autocommit=True) as connection:
        yield connection


async def carried(gateway: Gateway, *, handled: bool = True) -> list[tuple[UUID, UUID | None]]:
    """Remove every pending row, as relay and worker would; return the events and their replays, in order."""
    async with database(gateway) as connection, connection.transaction():
        rows = await (await connection.execute("delete from outbox_pending returning id, event_id, replay_id")).fetchall()
        if handled:
            await connection.cursor().executemany(
                "insert into consumed (event_id, consumer) select id, case topic when 'lead.partner.events' then 'leads' "
                "else 'payments' end from outbox where id = %s on conflict do nothing",
                [(row[1],) for row in rows],
            )
    return [(row[1], row[2]) for row in sorted(rows)]


async def payments(gateway: Gateway, number: int, **how: Any) -> list[bytes]:
    bodies = [stripe.Payment().succeeded() for _ in range(number)]
    for body in bodies:
        await gateway.post(body, **how)
    return bodies


async def refused(gateway: Gateway, number: int) -> list[bytes]:
    bodies = await payments(gateway, number, secret=WRONG)
    await gateway.resources.rejections.flush()
    return bodies


async def taken_up(gateway: Gateway, **asked: Any) -> str:
    """Start a replay, wait until each of its deliveries is taken up, and return its id."""
    status, begun = await post(gateway, "/v1/admin/webhooks/replay", {"rate": 1000, **asked})
    assert status == 202, begun

    async def look() -> str | None:
        return None if (await progress(gateway, begun["replayId"]))["waiting"] else begun["replayId"]

    return await eventually(look)
