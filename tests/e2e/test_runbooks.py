"""
The commands of the runbooks, run unchanged by a shell on a running system, so that none of them fails at night.

A block fenced as `sh` is run, all of a page in their order, and must succeed; what a page cannot know (the id of a lead that was
given up) it writes as a variable, and `PREPARED` brings about such a thing here. A block fenced as `text` is not run.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from ops.stack.postgres import programs_for
from runtime.ids import new_id
from tests.e2e.test_dead_letters import foreign
from tests.e2e.test_notifications import send as notify
from tests.e2e.test_partner_lead import lead_with
from tests.e2e.test_partner_lead import send as send_lead
from tests.sender import post_stripe
from tests.simulators import stripe
from tests.simulators.partner import lead
from tests.system import STRIPE_SECRET
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

    from tests.system import System

PAGES: Final = sorted(page for page in (Path(__file__).parents[2] / "runbooks").glob("*.md") if page.name != "README.md")
FENCE: Final = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


async def _given_up_lead(system: System, http: aiohttp.ClientSession, partner: str) -> dict[str, str]:
    answer = await send_lead(http, system, partner, lead(f"crm-{uuid4()}", partner))
    lead_id = (await answer.json())["id"]
    await lead_with(http, system, lead_id, "exhausted")
    return {"LEAD_ID": lead_id, "PARTNER_ID": partner, "PARTNER": partner.upper()}


async def _notification(system: System, http: aiohttp.ClientSession) -> dict[str, str]:
    notification = await notify(http, system, "someone@example.com", "EMAIL")
    wait_until(lambda: system.count("notifications where id = %s", notification))
    return {"NOTIFICATION_ID": notification, "USER_ID": "someone"}


async def _parked(system: System, _: aiohttp.ClientSession) -> dict[str, str]:
    [(parked,)] = system.query(
        """
        insert into outbox_pending (event_id, shard, parked_at, reason)
        select id, 0, now(), 'record_invalid' from outbox order by id limit 1 returning id
        """
    )
    return {"PARKED_ID": str(parked)}


async def _letters(system: System, _: aiohttp.ClientSession) -> dict[str, str]:
    return {"LETTER_ID": foreign(system, b"one of the page's"), "OTHER_LETTER_ID": foreign(system, b"another of the page's")}


async def _recoverable(system: System, _: aiohttp.ClientSession) -> dict[str, str]:
    """Store a delivery that a wrong secret refused; `tests/faults/test_replays.py` tests the whole recovery."""
    before, delivery, body = datetime.now(UTC).isoformat(), new_id(), stripe.Payment().succeeded()
    headers = Jsonb({"Stripe-Signature": stripe.sign(body, STRIPE_SECRET, time.time())})
    with psycopg.connect(system.database_url) as connection:
        connection.execute(
            "insert into webhook_deliveries (id, source, outcome, reason, trace_id, headers, body) "
            "values (%s, 'stripe', 'rejected', 'signature_wrong', %s, %s, %s)",
            (delivery, delivery.hex, headers, body),
        )
    return {"SINCE": before, "UNTIL": "0s"}


async def _backup(system: System, _: aiohttp.ClientSession) -> dict[str, str]:
    return {"BACKUP": str(system.stack.data_dir / "tallyhook.dump")}


async def _subject(system: System, http: aiohttp.ClientSession) -> dict[str, str]:
    email = f"{uuid4()}@example.com"
    await post_stripe(http, system.public, stripe.Payment(receipt_email=email).succeeded(int(time.time())))
    return {"EMAIL": email}


async def _disputed(system: System, http: aiohttp.ClientSession) -> dict[str, str]:
    payment = stripe.Payment()
    await post_stripe(http, system.public, payment.disputed("created"))
    dispute = f"du_{payment.charge[3:]}"
    wait_until(lambda: system.count("disputes where id = %s", dispute))
    return {"DISPUTE_ID": dispute}


PREPARED: Final[dict[str, Callable[[System, aiohttp.ClientSession], Awaitable[dict[str, str]]]]] = {
    "dead-letters": _letters,
    "erase-a-subject": _subject,
    "lead-delivery": partial(_given_up_lead, partner="gone"),
    "notifications": _notification,
    "outbox-backlog": _parked,
    "partner-down": partial(_given_up_lead, partner="lost"),
    "restore-from-backup": _backup,
    "payment-disputed": _disputed,
    "replay-webhooks": _recoverable,
    "signature-failures": _recoverable,
}


def commands_of(page: Path) -> str:
    """The page's commands as one script."""
    return "\n".join(dedent(text) for _, language, text in FENCE.findall(page.read_text()) if language == "sh")


def shell(system: System, prepared: dict[str, str]) -> dict[str, str]:
    """The variables that `./dev env` gives, and those of the page."""
    path = f"{Path(sys.executable).parent}:{programs_for(None)}:{system.environment['PATH']}"
    token = system.environment["ADMIN_API_TOKEN"]
    urls = {"PUBLIC_URL": system.public, "INTERNAL_URL": system.internal, "ADMIN_TOKEN": token}
    return {**system.environment, **urls, **prepared, "PATH": path}


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_block_is_marked_as_run_or_not(page: Path) -> None:
    assert [text for _, language, text in FENCE.findall(page.read_text()) if language not in ("sh", "text")] == []


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.stem)
async def test_the_commands_of_a_page_work(page: Path, system: System, http: aiohttp.ClientSession) -> None:
    prepare = PREPARED.get(page.stem)
    environment = shell(system, await prepare(system, http) if prepare else {})
    command = ["bash", "-euxo", "pipefail", "-c", commands_of(page)]
    ended = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
