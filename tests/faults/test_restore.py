"""Postgres is restored from a backup while Kafka is ahead: replays rebuild what was lost, and nothing is notified twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import psycopg
import pytest

from outbox.offsets import Offsets
from runtime.kafka import Cluster
from schemas.topology import group_of
from tests.command import tallyhook
from tests.faults.accounting import assert_ledger
from tests.mail import mail_server
from tests.sender import post_stripe
from tests.simulators import partner, stripe
from tests.simulators.crm import SECRET, running_crm, status
from tests.system import running_system
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ops.stack import Stack
    from tests.mail import MailServer
    from tests.simulators.crm import Taken
    from tests.system import System

NUMBER: Final = 20
LEADS: Final = 5
TOPICS: Final = {"payments": "webhooks.stripe", "notifications": "notification.commands", "leads": "lead.partner.events"}
SETTINGS: Final = {
    "STREAMS_SESSION_TIMEOUT": "6s",
    "NOTIFY_POLL": "50ms",
    "LEAD_POLL": "50ms",
    "LEAD_RETRY_BASE": "2s",
    "LEAD_RETRY_MAX": "2s",
    "LEAD_MAX_ATTEMPTS": "100",
}
TABLES: Final = (
    "select * from payments order by id",
    "select * from refunds order by id",
    "select * from disputes order by id",
    "select * from history order by aggregate_type, aggregate_id, event_id",
    "select * from reconciliations order by reference",
    """select l.id, l.status, l.version, l.attempts, l.failures, l.updated_at, payload,
         (select array_agg((attempt, a.status, error)::text order by attempt) from lead_attempts a where lead_id = l.id)
       from leads l order by id""",
    "select event_id, consumer from consumed where consumer in ('payments', 'leads') order by 1, 2",
)


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.mark.timeout(300)
async def test_lost_data_comes_back_and_nothing_is_notified_twice(empty_stack: Stack, mail: MailServer) -> None:
    # The runbook starts "a little before the backup": the workers may not have read all records by then.
    moment = datetime.now(UTC)
    async with running_crm() as crm:
        crm.answers("/slow", status(503))
        settings = SETTINGS | {"NOTIFY_EMAIL_URL": mail.url} | partner.settings(crm.url, SECRET, "acme", "slow")
        async with running(empty_stack, settings) as system:
            await bring(system, "early", NUMBER)
            await send_lead(system, "slow", "taken-later")
            await until(lambda: system.count("lead_attempts where error = 'http_503'") > 0)
        database = Database(empty_stack.postgres.url)
        await asyncio.to_thread(database.back_up)
        crm.answers("/slow", status(204))
        async with running(empty_stack, settings) as system:
            await bring(system, "lost", 2 * NUMBER)
            await until(lambda: system.count("leads where status = 'delivered'") == 2 * LEADS + 1)
            await until(lambda: read_to_its_end(system))
        lost, mails, calls = [system.query(query) for query in TABLES], Counter(mail.ids), Counter(map(message_of, crm.taken))
        assert mails.total() == 2 * NUMBER
        await asyncio.to_thread(database.restore)
        assert system.count("payments") == NUMBER
        for role, topic in TOPICS.items():
            report = await asyncio.to_thread(replay, system, role, topic, moment)
            assert (report["moved"], report["sideEffects"]) == (True, "suppressed")
            assert report["marked"] > 0
        async with running(empty_stack, settings) as system:
            await until(lambda: system.count("offset_replays where finished_at is null") == 0)
            assert [system.query(query) for query in TABLES] == lost
            assert system.count("notifications where status = 'suppressed' and reason = 'replay'") == NUMBER
            await bring(system, "after", 2 * NUMBER)
            # Events between the backup and the crash are on neither side of the ledger: only Kafka had them.
            await asyncio.to_thread(assert_ledger, system, stripe=4 * NUMBER, partner=2 * LEADS + 1)
        assert mails == Counter({message: mail.ids[message] for message in mails})
        assert mail.ids.total() == 3 * NUMBER
        again = Counter(map(message_of, crm.taken)) - calls
        assert [path for path, _ in again.elements()] == ["/acme"] * LEADS


@asynccontextmanager
async def running(stack: Stack, settings: dict[str, str]) -> AsyncIterator[System]:
    context = running_system(stack, workers=tuple(TOPICS), together=True, **settings)
    system = await asyncio.to_thread(context.__enter__)
    try:
        yield system
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def until(fact: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, fact)


async def bring(system: System, name: str, mails: int) -> None:
    """Send leads and payments whose payers get a mail; return once that many mails are sent and everything is on Kafka."""
    now = int(time.time())
    async with aiohttp.ClientSession() as http:
        for number in range(NUMBER):
            life = stripe.Payment(receipt_email=f"{name}-{number}@example.com")
            for body in (life.created(now), life.succeeded(now + 1)):
                assert (await post_stripe(http, system.public, body)).status == 200
    for number in range(LEADS):
        await send_lead(system, "acme", f"{name}-{number}")
    await until(lambda: system.count("notifications where status = 'sent'") == mails)
    await until(lambda: system.count("leads where partner_id = 'acme' and status <> 'delivered'") == 0)
    await until(lambda: system.count("outbox_pending") == 0)


def read_to_its_end(system: System) -> bool:
    """Report whether each event that was ever made is on Kafka, and each worker has committed all of its topic."""
    if system.count("outbox_pending"):
        return False
    seen = Offsets(Cluster(system.kafka)).look(TOPICS.values(), [group_of(role) for role in TOPICS])
    committed = {topic: seen.groups[group_of(role)].committed for role, topic in TOPICS.items()}
    return all(span.lag(committed[place.topic].get(place)) == 0 for place, span in seen.spans.items())


async def send_lead(system: System, name: str, external_id: str) -> None:
    body = partner.lead(external_id, name)
    headers = {"Content-Type": "application/json", "X-Partner-Signature": partner.sign(body, f"{name}-secret", time.time())}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{system.public}/v1/webhooks/partner/leads", data=body, headers=headers) as answer,
    ):
        assert answer.status == 202, await answer.text()


def message_of(taken: Taken) -> tuple[str, str]:
    return taken.path, taken.message_id


def replay(system: System, role: str, topic: str, moment: datetime) -> dict[str, Any]:
    """Run the runbook's command, once for each worker."""
    arguments = ["--worker", role, "--topic", topic, "--from-time", moment.isoformat(), "--json"]
    wait_until(lambda: not Offsets(Cluster(system.kafka)).group(group_of(role)).live)
    ended = tallyhook(system.environment, "replay", "offsets", *arguments)
    assert ended.returncode == 0, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


class Database:
    """A database that is copied and put back while no client is connected."""

    def __init__(self, url: str) -> None:
        self._server, _, self._name = url.rpartition("/")

    def back_up(self) -> None:
        self._run(f"create database backup template {self._name}")

    def restore(self) -> None:
        self._run(f"drop database {self._name} with (force)")
        self._run(f"create database {self._name} template backup")

    def _run(self, statement: str) -> None:
        with psycopg.connect(f"{self._server}/postgres", autocommit=True) as connection:
            connection.execute(statement.encode())
