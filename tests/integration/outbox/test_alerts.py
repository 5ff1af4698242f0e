"""Conditions are counted where they happen and reported once a window, however many processes see them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import AsyncConnection

from gateway.webhooks.rejections import Rejected, RejectedLog
from outbox.alerts import PARTNER_FAILING, Condition, count_occurrences, count_possible, delete_windows, window_of
from runtime.ids import new_id
from schemas.envelope import Event
from schemas.operations import AlertRaised
from schemas.registry import EVENT_TYPES, encode
from schemas.topics import Topic
from streams.alerts.handler import AlertSettings, AlertsHandler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOON = datetime(2026, 11, 24, 12, 1, tzinfo=UTC)
FAILING = Condition("failing", 10, timedelta(minutes=5), "{subject} failed {count} times in {minutes} minutes", "runbooks/x.md")

SOME_FAILING = FAILING._replace(summary="{subject} failed {count} of {total}", min_ratio=0.25)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection]:
    async with await AsyncConnection.connect(database_url, autocommit=True) as opened:
        yield opened


def alerts(url: str) -> list[dict[str, Any]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select data from outbox where topic = 'alert.events' order by id").fetchall()
    return [json.loads(row[0]) for row in rows]


async def test_the_threshold_is_reported_once_and_again_in_the_next_window(
    connection: AsyncConnection, database_url: str
) -> None:
    reported = [await count_occurrences(connection, FAILING, "p1", now=NOON) for _ in range(25)]
    assert reported == [False] * 9 + [True] + [False] * 15
    assert not await count_occurrences(connection, FAILING, "p1", 9, NOON + timedelta(minutes=5))
    assert await count_occurrences(connection, FAILING, "p1", 1, NOON + timedelta(minutes=5))
    assert not await count_occurrences(connection, FAILING, "p2", 9, NOON)
    assert [alert["summary"] for alert in alerts(database_url)] == ["p1 failed 10 times in 5 minutes"] * 2


async def test_with_a_share_many_failures_among_many_more_are_no_alert(connection: AsyncConnection, database_url: str) -> None:
    async def ended(good: int, bad: int) -> bool:
        await count_possible(connection, SOME_FAILING, {"p1": good + bad}, NOON)
        return await count_occurrences(connection, SOME_FAILING, "p1", bad, NOON)

    assert not await ended(good=0, bad=9)  # all of them failed, but they are too few
    assert not await ended(good=71, bad=10)  # 19 of 90
    assert await ended(good=0, bad=5)  # 24 of 95
    assert not await ended(good=0, bad=50)  # reported already
    assert [alert["summary"] for alert in alerts(database_url)] == ["p1 failed 24 of 95"]


async def test_processes_that_count_side_by_side_report_it_once(database_url: str) -> None:
    async def count() -> int:
        async with await AsyncConnection.connect(database_url, autocommit=True) as mine:
            return sum([await count_occurrences(mine, FAILING, "p1", now=NOON) for _ in range(20)])

    assert sum(await asyncio.gather(*(count() for _ in range(5)))) == 1
    assert len(alerts(database_url)) == 1


async def test_a_rolled_back_event_is_not_counted(connection: AsyncConnection, database_url: str) -> None:
    async with connection.transaction(force_rollback=True):
        assert await count_occurrences(connection, FAILING, "p1", 10, NOON)
    assert alerts(database_url) == []


async def test_a_flood_of_bad_signatures_is_one_alert_though_few_are_kept(database_url: str) -> None:
    rejections = RejectedLog(database_url, kept_per_hour=3)
    await rejections.open()
    for reason in ["signature_wrong"] * 15 + ["timestamp_too_old"] * 15 + ["body_not_json"] * 50:
        rejections.offer(
            Rejected(id=new_id(), source="stripe", reason=reason, trace_id="0" * 32, client=None, headers={}, body=b"{}")
        )
    await rejections.flush()
    await rejections.close()
    [alert] = alerts(database_url)
    assert (alert["alert"], alert["subject"], alert["runbook"]) == (
        "signature_failures", "stripe", "runbooks/signature-failures.md",
    )  # fmt: skip
    assert "30 within 5 minutes" in alert["summary"]


def raised(alert: str, at: datetime) -> Event:
    data = encode(AlertRaised(alert=alert, subject="s", summary="look", runbook="runbooks/x.md"))
    schema = EVENT_TYPES["alert.raised"].dataschema
    return Event(
        id=new_id(), topic=Topic.ALERTS, aggregate_id=alert, source="/x", type="alert.raised", occurred_at=at, dataschema=schema,
        traceparent=f"00-{'1' * 32}-{'2' * 16}-01", data=data,
    )  # fmt: skip


async def test_operators_get_an_alert_once_a_window(connection: AsyncConnection, database_url: str) -> None:
    settings = AlertSettings(database_url=database_url, kafka_bootstrap_servers="k:1", alert_to="ops@example.com")
    for moment in (NOON, NOON + timedelta(minutes=5)):
        async with connection.transaction():
            events = [raised("parked", moment), raised("exhausted", moment), raised("parked", moment)]
            await AlertsHandler(settings).handle(connection, events)
    query = "select data from outbox where topic = 'notification.commands'"
    messages = [row[0].decode() for row in await (await connection.execute(query)).fetchall()]
    assert len(messages) == 4
    assert all('"to":"ops@example.com"' in text and '"template":"operator-alert"' in text for text in messages)


async def test_without_operators_nothing_is_sent(connection: AsyncConnection, database_url: str) -> None:
    settings = AlertSettings(database_url=database_url, kafka_bootstrap_servers="k:1")
    async with connection.transaction():
        await AlertsHandler(settings).handle(connection, [raised("parked", NOON)])
    query = "select count(*) from outbox where topic = 'notification.commands'"
    assert await (await connection.execute(query)).fetchone() == (0,)


async def test_windows_beyond_the_retention_are_forgotten(connection: AsyncConnection, database_url: str) -> None:
    await count_occurrences(connection, PARTNER_FAILING, "p1", now=NOON)
    with psycopg.connect(database_url, autocommit=True) as sync:
        assert delete_windows(sync, NOON - timedelta(days=1)) == 0
        assert delete_windows(sync, NOON) == 1


def test_windows_tumble_at_whole_multiples_of_their_length() -> None:
    assert window_of(NOON, timedelta(minutes=5)) == datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert window_of(NOON, timedelta(hours=1)) == datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert window_of(NOON, timedelta(seconds=30)) == NOON
