"""The alert webhook is turned on and off by its files, while the worker runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from outbox.append import event_of
from runtime.database import make_pool
from runtime.service import running
from runtime.tracing import new_trace
from schemas.operations import AlertRaised
from streams.alerts.handler import ALERTS, AlertSettings
from tests.simulators.crm import SECRET, Crm, running_crm, status
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from runtime.database import Pool
    from streams.role import Running

RAISED: Final = AlertRaised(alert="parked", subject="stripe", summary="look", runbook="runbooks/README.md")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with make_pool(database_url, size=2, name="test") as made:
        yield made


async def raise_alert(worker: Running, pool: Pool) -> str:
    event = event_of(RAISED, aggregate_id="parked", source="/alerts", occurred_at=datetime.now(UTC), trace=new_trace())
    async with pool.connection() as connection, connection.transaction():
        await worker.handler.handle(connection, [event])
    return str(event.id)


async def waiting(pool: Pool) -> int:
    async with pool.connection() as connection:
        row = await (await connection.execute("select count(*) from alert_webhooks")).fetchone()
    assert row is not None
    return int(row[0])


async def until_came(hook: Crm, *ids: str) -> None:
    async def came() -> bool | None:
        return hook.ids("/alerts")[-len(ids) :] == [*ids] or None

    await eventually(came)


async def test_an_added_webhook_is_used_and_messages_for_a_removed_one_keep_waiting(pool: Pool, database_url: str) -> None:
    given = {
        "DATABASE_URL": database_url,
        "KAFKA_BOOTSTRAP_SERVERS": "k:1",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "ALERT_WINDOW": "1ms",
    }
    without = AlertSettings.load(given)
    async with running_crm() as hook, ALERTS.opened(without, pool) as worker, running(*worker.services):
        with_one = AlertSettings.load(given | {"ALERT_WEBHOOK_URL": f"{hook.url}/alerts", "ALERT_WEBHOOK_SECRET": SECRET})
        await raise_alert(worker, pool)
        assert await waiting(pool) == 0
        without.renew(with_one)
        await until_came(hook, await raise_alert(worker, pool))
        hook.answers("/alerts", status(500))
        late = await raise_alert(worker, pool)
        await until_came(hook, late)
        without.renew(without)
        await raise_alert(worker, pool)
        assert await waiting(pool) == 1
        hook.answers("/alerts", status(204))
        without.renew(with_one)

        async def all_gone() -> bool | None:
            return await waiting(pool) == 0 or None

        await eventually(all_gone)
        assert {*hook.ids("/alerts")[1:]} == {late}
