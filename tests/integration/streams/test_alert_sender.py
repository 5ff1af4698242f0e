"""The sender of alerts to ALERT_WEBHOOK_URL: what it refuses, when it gives up, and its signatures during a rotation."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from structlog.testing import capture_logs

from outbox.append import event_of
from runtime.database import make_pool
from runtime.service import running
from runtime.settings import Secret
from runtime.tracing import new_trace
from schemas.operations import AlertRaised
from streams.alerts import webhook
from streams.leads.crm import opened_crm
from tests.integration.streams.delivering import LOOPBACK
from tests.simulators.crm import SECRET, running_crm, status
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from schemas.envelope import Event
    from tests.simulators.crm import Crm

OLD: Final = SECRET
NEW: Final = "whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldw=="


class Settings(NamedTuple):
    alert_webhook_url: str | None
    alert_webhook_secret: tuple[Secret, ...]


class World:
    """A sender on a real database and a receiver; `settings` are the current ones."""

    def __init__(self, connection: psycopg.AsyncConnection, crm: Crm) -> None:
        self.crm = crm
        self.settings = Settings(f"{crm.url}/alerts", (Secret(OLD),))
        self._connection = connection

    async def raise_(self) -> Event:
        alert = AlertRaised(alert="parked", subject="stripe/eu", summary="look", runbook="runbooks/README.md")
        event = event_of(alert, aggregate_id="parked", source="/alerts", occurred_at=datetime.now(UTC), trace=new_trace())
        await webhook.enqueue(self._connection, event, alert)
        return event

    async def rows(self) -> list[tuple[Any, ...]]:
        return await (await self._connection.execute("select attempts, error from alert_webhooks")).fetchall()

    async def until_taken(self, number: int) -> None:
        async def look() -> bool | None:
            return (len(self.crm.taken) == number and not await self.rows()) or None

        await eventually(look)


@asynccontextmanager
async def sending(database_url: str, allowed: Any = LOOPBACK) -> AsyncIterator[World]:
    pool = make_pool(database_url, size=2, name="test")
    await pool.open()
    try:
        async with (
            await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
            running_crm() as receiver,
            opened_crm(timedelta(seconds=5), allowed, lambda: datetime.now(UTC)) as crm,
        ):
            world = World(connection, receiver)
            sender = webhook.AlertWebhook(pool, crm, lambda: world.settings, lease=timedelta(seconds=10))
            async with running(sender):
                yield world
    finally:
        await pool.close()


async def test_an_address_within_is_refused_when_its_name_is_looked_up(database_url: str) -> None:
    async with sending(database_url, allowed=()) as world:
        port = world.crm.url.rpartition(":")[2]
        world.settings = world.settings._replace(alert_webhook_url=f"http://localhost:{port}/alerts")
        await world.raise_()

        async def look() -> str | None:
            [(_, error)] = await world.rows()
            return error

        assert await eventually(look) == "address_refused"
        assert (world.crm.taken, world.crm.refused) == ([], 0)


async def test_after_fifteen_attempts_it_is_given_up_in_the_log_and_the_metrics(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_PAUSES", (0.001, 0.002))
    failed = webhook.ATTEMPTS.labels("failed")
    before = failed._value.get()
    async with sending(database_url) as world:
        world.crm.answers("/alerts", status(500))
        with capture_logs() as lines:
            event = await world.raise_()
            await world.until_taken(webhook.ATTEMPTS_MAX)
        assert {taken.message_id for taken in world.crm.taken} == {str(event.id)}
    assert failed._value.get() == before + 1
    [given_up] = [line for line in lines if line["event"] == "alert_webhook_given_up"]
    assert (given_up["reason"], given_up["alert"]) == ("attempts_exhausted", str(event.id))
    assert given_up["error"]


async def test_an_alert_whose_time_was_stored_while_the_clock_was_ahead_is_due_again(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection, running_crm() as receiver:
        await World(connection, receiver).raise_()
        await connection.execute("update alert_webhooks set next_attempt_at = now() + interval '1 year'")
    async with sending(database_url) as world:

        async def due() -> bool | None:
            soon = "select from alert_webhooks where next_attempt_at <= now() + interval '2 minutes'"
            return (await world._connection.execute(soon)).rowcount == 1 or None

        await eventually(due)


async def test_there_are_signatures_of_the_old_and_the_new_secret_during_a_rotation(database_url: str) -> None:
    async with sending(database_url) as world:
        await world.raise_()
        await world.until_taken(1)
        world.settings = world.settings._replace(alert_webhook_secret=(Secret(NEW), Secret(OLD)))
        for number, known in enumerate((OLD, NEW), start=2):  # the receiver accepts the old one, and then the new one
            world.crm.secret = known
            await world.raise_()
            await world.until_taken(number)
        world.settings = world.settings._replace(alert_webhook_secret=(Secret(NEW),))
        await world.raise_()
        await world.until_taken(4)
        assert world.crm.refused == 0
        world.crm.secret = OLD
        await world.raise_()

        async def refused() -> bool | None:
            return world.crm.refused > 0 or None

        await eventually(refused)
