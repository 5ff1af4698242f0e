"""Alerts reach a signed webhook that fails at first, even if the worker is killed meanwhile; half a pair is refused."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from outbox.append import append, event_of
from runtime.outbound import REFUSED
from runtime.settings import SettingsError
from runtime.tracing import new_trace
from schemas.operations import AlertRaised
from streams.alerts.handler import AlertSettings
from tests.simulators.crm import SECRET, crm_of_its_own, status
from tests.system import running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from ops.stack import Stack

NEW: Final = "whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldw=="
NEEDED: Final = {"DATABASE_URL": "postgresql://x", "KAFKA_BOOTSTRAP_SERVERS": "k:1"}


@pytest.mark.timeout(180)
async def test_an_alert_is_sent_again_after_a_500_and_after_a_kill(empty_stack: Stack) -> None:
    with crm_of_its_own() as hook:
        hook.answers("/alerts", status(500))
        settings = {
            "STREAMS_SESSION_TIMEOUT": "6s",
            "ALERT_WEBHOOK_URL": f"{hook.url}/alerts",
            "ALERT_WEBHOOK_SECRET": f"{NEW},{SECRET}",
            "OUTBOUND_ALLOW": "127.0.0.0/8",
        }
        with running_system(empty_stack, workers=("alerts",), **settings) as system:
            alert = AlertRaised(alert="parked", subject="stripe", summary="look", runbook="runbooks/README.md")
            event = event_of(alert, aggregate_id="parked", source="/alerts", occurred_at=datetime.now(UTC), trace=new_trace())
            async with await psycopg.AsyncConnection.connect(system.database_url, autocommit=True) as connection:
                await append(connection, [event])
            await asyncio.to_thread(wait_until, lambda: len(hook.taken) >= 2)
            killed = system.kill("worker-alerts")
            hook.answers("/alerts", status(204))
            await asyncio.to_thread(system.wait_back, "worker-alerts", killed)
            await asyncio.to_thread(wait_until, lambda: system.count("alert_webhooks") == 0)
    assert (hook.refused, {taken.message_id for taken in hook.taken}) == (0, {str(event.id)})
    message = json.loads(hook.taken[-1].body)
    assert (message["type"], message["data"]["alert"], message["data"]["subject"]) == ("alert.raised", "parked", "stripe")
    assert len({taken.body for taken in hook.taken}) == 1


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"ALERT_WEBHOOK_URL": "https://x.example/a"}, "ALERT_WEBHOOK_SECRET: is required, because ALERT_WEBHOOK_URL is set"),
        ({"ALERT_WEBHOOK_SECRET": SECRET}, "ALERT_WEBHOOK_URL: is required, because ALERT_WEBHOOK_SECRET is set"),
        ({"ALERT_WEBHOOK_URL": "http://10.0.0.1/a", "ALERT_WEBHOOK_SECRET": SECRET}, f"ALERT_WEBHOOK_URL: {REFUSED}"),
    ],
)
def test_half_a_web_hook_and_one_within_are_refused_at_the_start(given: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        AlertSettings.load(NEEDED | given)
    assert caught.value.problems == [problem]
