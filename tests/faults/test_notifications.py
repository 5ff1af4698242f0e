"""Messages while their worker is killed or the mail server is away: none is lost, and a copy can be recognized."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.faults.accounting import assert_ledger
from tests.mail import mail_server
from tests.system import SERVICE, running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.stack import Stack
    from tests.mail import MailServer
    from tests.system import System

NUMBER = 400
KILLS = 4


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def system(empty_stack: Stack, mail: MailServer) -> Iterator[System]:
    settings = {
        "STREAMS_SESSION_TIMEOUT": "6s",
        "NOTIFY_EMAIL_URL": mail.url,
        "NOTIFY_SEND_TIMEOUT": "2s",
        "NOTIFY_RETRY_BASE": "200ms",
        "NOTIFY_RETRY_MAX": "1s",
        "NOTIFY_ATTEMPTS_MAX": "60",
        "NOTIFY_POLL": "50ms",
    }
    with running_system(empty_stack, workers=("notifications",), **settings) as running:
        yield running


async def command(http: aiohttp.ClientSession, system: System, number: int) -> str:
    data: dict[str, Any] = {"providerPaymentId": f"pi_{number}", "amount": number, "currency": "eur"}
    body = {"to": f"user{number}@example.com", "channel": "EMAIL", "template": "payment-succeeded", "data": data}
    async with http.post(f"{system.internal}/internal/v1/notifications/send", json=body, headers=SERVICE) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["id"])


def assert_all_sent(system: System, mail: MailServer, number: int) -> None:
    """Every notification is sent, its mail arrived, and a repeated mail has the same id."""
    wait_until(lambda: system.count("notifications where status = 'sent'") == number)
    rows = dict(system.query("select message_id, recipient from notifications"))
    assert len(rows) == number
    assert set(mail.ids) == set(rows)
    assert {(each.id, each.recipients[0]) for each in mail.mails} == set(rows.items())
    emitted = Counter(kind for (kind,) in system.query("select type from outbox where topic like 'notification.%%'"))
    assert emitted == {"notification.send": number, "notification.sent": number}
    assert_ledger(system, commands=number)


@pytest.mark.timeout(240)
async def test_a_worker_killed_again_and_again_loses_no_mail(system: System, mail: MailServer) -> None:
    async with aiohttp.ClientSession() as http:
        for kill in range(KILLS):
            numbers = range(kill * NUMBER // KILLS, (kill + 1) * NUMBER // KILLS)
            taken = len(mail.ids)
            await asyncio.gather(*(command(http, system, number) for number in numbers))
            await asyncio.to_thread(wait_until, lambda taken=taken: len(mail.ids) > taken + 10)
            killed = system.kill("worker-notifications")
            await asyncio.to_thread(system.wait_back, "worker-notifications", killed)
    await asyncio.to_thread(assert_all_sent, system, mail, NUMBER)
    copies = sum(mail.ids.values()) - NUMBER
    assert copies <= KILLS * 16  # the messages in flight at the kill


@pytest.mark.timeout(240)
async def test_with_the_mail_server_away_messages_wait_and_none_is_lost(system: System, mail: MailServer) -> None:
    mail.stop()
    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(command(http, system, number) for number in range(60)))
    await asyncio.to_thread(wait_until, lambda: system.count("notifications where reason = 'smtp_unavailable'") == 60)
    assert mail.mails == []
    mail.listen()
    await asyncio.to_thread(assert_all_sent, system, mail, 60)
    assert sum(mail.ids.values()) == 60
