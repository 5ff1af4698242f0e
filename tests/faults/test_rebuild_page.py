"""The runbook on lost tables, followed to the letter after each loss, on a running system: it restores all that it promises."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import aiohttp
import psycopg
import pytest

from tests.e2e.test_partner_lead import lead_with, send
from tests.e2e.test_runbooks import FENCE, PAGES, shell
from tests.e2e.test_search import index
from tests.integration.operations.rebuilding import KEYS
from tests.sender import post_stripe
from tests.simulators import partner
from tests.simulators.crm import SECRET, crm_of_its_own
from tests.simulators.stripe import Invoice, Payment, Subscription
from tests.system import ADMIN, SERVICE, System, running_system
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ops.stack import Stack

PAGE: Final = next(page for page in PAGES if page.stem == "rebuild")
# The tables lost before each command of the page is run. The notes of the notifications worker on an attempt are in no log.
TABLES: Final = {
    "payments refunds disputes subscriptions invoices": ("payments", "refunds", "disputes", "subscriptions", "invoices"),
    "reconciliations": ("reconciliations",),
    "history": ("history",),
    "leads": ("leads", "lead_attempts"),
    "notifications": ("notifications",),
    "search": ("search_documents",),
    "config": ("config", "config_history"),
}
IN_NO_LOG: Final = {"lead_attempts": ("started_at", "excerpt"), "notifications": ("error",)}


@pytest.fixture
def system(empty_stack: Stack) -> Iterator[System]:
    """A separate system: no other test's payments are lost."""
    with crm_of_its_own() as crm:
        settings = partner.settings(crm.url, SECRET, "acme")
        with running_system(empty_stack, together=True, **settings) as running:
            yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def commands() -> list[str]:
    """Return the commands below "Act", in the page's order."""
    act = PAGE.read_text().partition("## Act")[2].partition("## Confirm")[0]
    return [text.strip() for _, language, text in FENCE.findall(act) if language == "sh"]


def dump(system: System) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every projection, without the columns that are in no log according to the page."""
    found = {}
    for table in (table for tables in TABLES.values() for table in tables):
        rows = system.query(f"select to_jsonb(t) from {table} t order by {KEYS[table]}")
        found[table] = [{name: value for name, value in row.items() if name not in IN_NO_LOG.get(table, ())} for (row,) in rows]
    return found


def events_emitted(system: System) -> int:
    """Return how many events were ever emitted."""
    return system.count("outbox")


def lose(system: System, statement: str) -> None:
    with psycopg.connect(system.database_url, autocommit=True) as connection:
        connection.execute(statement.encode())


async def live_through_a_day(system: System, http: aiohttp.ClientSession) -> None:
    """Send events and commands of every kind, and wait until none is in flight."""
    now = int(time.time())
    email = f"{uuid4()}@example.com"
    for n in range(20):
        payment, subscription = Payment(amount=1000 + n, receipt_email=email), Subscription()
        for body in (
            payment.succeeded(now),
            payment.refund("refund.created", 100, now + 1, id=f"re_{payment.id[3:]}"),
            payment.disputed("created", now + 1),
            subscription.created(now),
            Invoice(subscription=subscription.id).paid(now + 1),
        ):
            assert (await post_stripe(http, system.public, body)).status == 200
    for _ in range(5):
        answer = await send(http, system, "acme", partner.lead(f"crm-{uuid4()}", "acme"))
        await lead_with(http, system, (await answer.json())["id"], "delivered")
    for n in range(5):
        await index(http, system, id=f"p-{n}", op="upsert", doc={"title": f"house {n}"})
    for value in (1, 2):
        change = {"key": "shop.mood", "value": value}
        async with http.post(f"{system.internal}/internal/v1/config", json=change, headers=ADMIN) as changed:
            assert changed.status == 200, await changed.text()

    async def quiet() -> bool | None:
        waiting = system.count("outbox_pending") or system.count("notifications where status not in ('sent', 'failed')")
        async with http.get(f"{system.internal}/v1/admin/topology", headers=SERVICE | ADMIN) as answer:
            lag = (await answer.json())["lag"]
        return None if waiting or lag else True

    await eventually(quiet, every=0.5)


async def test_the_page_restores_what_it_promises(system: System, http: aiohttp.ClientSession) -> None:
    await live_through_a_day(system, http)
    before, emitted_before = dump(system), events_emitted(system)
    assert {table: len(rows) for table, rows in before.items() if not rows} == {}
    assert [command.removeprefix("tallyhook rebuild ") for command in commands()] == [*TABLES]
    for command, tables in zip(commands(), TABLES.values(), strict=True):
        for loss in ("truncate", "drop table"):
            lose(system, f"{loss} {', '.join(tables)}")
            ended = await asyncio.to_thread(
                subprocess.run,
                ["bash", "-euxo", "pipefail", "-c", command],
                env=shell(system, {}), capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            assert ended.returncode == 0, f"{loss}: {ended.stdout}\n{ended.stderr}"
            after = dump(system)
            assert {table for table in before if after[table] != before[table]} == set(), loss
    assert events_emitted(system) == emitted_before
