"""The alerts worker killed under load: operators get one mail per condition and window, and no alert is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest

from outbox.append import append, event_of
from runtime.tracing import new_trace
from schemas.operations import AlertRaised, SendNotification
from tests.faults.accounting import assert_ledger
from tests.system import running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack import Stack
    from schemas.envelope import Event
    from tests.system import System

KINDS = 5
WINDOWS = 20
WINDOW = timedelta(minutes=5)
ALERTS = 3000
KILLS = 3


@pytest.fixture
def system(empty_stack: Stack) -> Iterator[System]:
    settings = {"STREAMS_SESSION_TIMEOUT": "6s", "ALERT_TO": "operators@example.com", "STREAMS_BATCH": "50"}
    with running_system(empty_stack, workers=("alerts",), **settings) as running:
        yield running


def raised(number: int) -> Event:
    kind, window = number % KINDS, number // KINDS % WINDOWS
    alert = AlertRaised(alert=f"kind_{kind}", subject=f"s-{number}", summary=f"number {number}", runbook="runbooks/README.md")
    moment = datetime(2026, 1, 1, tzinfo=UTC) + window * WINDOW + timedelta(seconds=number % 300)
    return event_of(alert, aggregate_id=alert.alert, source="/alerts", occurred_at=moment, trace=new_trace())


async def raise_alerts(system: System, numbers: range) -> None:
    async with await psycopg.AsyncConnection.connect(system.database_url, autocommit=True) as connection:
        await append(connection, [raised(number) for number in numbers])


@pytest.mark.timeout(240)
async def test_a_worker_killed_again_and_again_reports_each_condition_once_a_window(system: System) -> None:
    handled = "consumed where consumer = 'alerts'"
    share = ALERTS // (KILLS + 1)
    for part in range(KILLS + 1):
        await raise_alerts(system, range(part * share, (part + 1) * share))
        if part < KILLS:
            some = part * share + share // 10
            await asyncio.to_thread(wait_until, lambda some=some: system.count(handled) > some)
            killed = system.kill("worker-alerts")
            await asyncio.to_thread(system.wait_back, "worker-alerts", killed)
    await asyncio.to_thread(wait_until, lambda: system.count(handled) == ALERTS)
    counts = system.query("select alert, started_at, count from alert_windows where subject = 'operators'")
    assert len(counts) == KINDS * WINDOWS
    assert {count for _, _, count in counts} == {ALERTS // (KINDS * WINDOWS)}
    sent = system.query(
        "select o.data, date_bin(%s, o.occurred_at, 'epoch') from outbox o where o.type = 'notification.send'", WINDOW
    )
    messages = Counter((msgspec.json.decode(data, type=SendNotification).data["alert"], window) for data, window in sent)
    assert messages == {(alert, window): 1 for alert, window, _ in counts}
    assert system.count("dead_letters") == 0
    await asyncio.to_thread(assert_ledger, system)
