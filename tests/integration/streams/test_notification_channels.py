"""A channel of notifications is turned on and off by the file of its address, while the worker runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from outbox.append import event_of
from projections import notifications
from runtime.database import make_pool
from runtime.service import running
from runtime.tracing import new_trace
from schemas.operations import SendNotification
from streams.notifications.handler import NOTIFICATIONS
from streams.notifications.settings import NotificationSettings
from tests.faults.receiving import PASSWORDS, receivers
from tests.kafka import settings_of
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from runtime.database import Pool
    from runtime.kafka import Cluster
    from streams.role import Running

PAID: Final = {"providerPaymentId": "pi_1", "amount": 100, "currency": "eur"}
COMMAND: Final = SendNotification(to="+4915112345678", channel="SMS", template="payment-succeeded", data=PAID)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with make_pool(database_url, size=2, name="test") as made:
        yield made


async def send(worker: Running, pool: Pool) -> UUID:
    event = event_of(COMMAND, aggregate_id="k", source="/test", occurred_at=datetime.now(UTC), trace=new_trace())
    async with pool.connection() as connection, connection.transaction():
        await worker.handler.handle(connection, [event])
    return event.id


async def until_it_is(pool: Pool, notification: UUID, *wanted: str | None) -> None:
    async def is_there() -> bool | None:
        async with pool.connection() as connection:
            found = await notifications.notification(connection, notification)
        return (found is not None and (found.status, found.reason) == wanted) or None

    await eventually(is_there)


async def test_a_channel_that_comes_sends_and_one_that_goes_does_not(pool: Pool, database_url: str, kafka: Cluster) -> None:
    given = {"DATABASE_URL": database_url, **settings_of(kafka)}
    without = NotificationSettings.load(given)
    async with receivers() as receiving, NOTIFICATIONS.opened(without, pool) as worker, running(*worker.services):
        await until_it_is(pool, await send(worker, pool), "failed", "channel_not_configured")
        address = receiving.address("NOTIFY_SMS_URL", PASSWORDS[0])
        without.renew(NotificationSettings.load(given | {"NOTIFY_SMS_URL": address}))
        await until_it_is(pool, await send(worker, pool), "sent", None)
        without.renew(without)
        await until_it_is(pool, await send(worker, pool), "failed", "channel_not_configured")
        assert (receiving.taken["sms"], receiving.refused) == (1, 0)
