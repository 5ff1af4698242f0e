"""Each command that changes something leaves one entry in the audit log, with the account that ran it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from schemas.credentials import fresh_signing_secret
from tests.command import tallyhook
from tests.rows import rows
from tests.simulators.stripe import Payment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.gateways import Gateway

PARKED: Final = """
insert into outbox_pending (event_id, shard, parked_at, reason) select id, 0, now(), 'message_too_large' from outbox returning id
"""
PARTNER: Final = {
    "PARTNER_ACME_SECRET": "a-secret-of-acme",
    "PARTNER_ACME_CRM_URL": "https://crm.example.com/leads",
    "PARTNER_ACME_CRM_SECRET": fresh_signing_secret(),
}


def run(database_url: str, *words: str, code: int = 0) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "USER": "tester",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "STRIPE_WEBHOOK_SECRET": "whsec_new",
        "INTERNAL_API_TOKEN": "service",
        "ADMIN_API_TOKEN": "operator",
        **PARTNER,
    }
    done = tallyhook(environment, *words)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("words", "code", "path"),
    [
        (["rebuild", "config", "--dry-run"], 0, None),
        (["rebuild", "config", "history"], 0, "tallyhook rebuild config history"),
        (["rebuild", "config", "--yes"], 0, "tallyhook rebuild config --yes"),
        (["console", "link"], 0, "tallyhook console link"),
        (["retention"], 0, "tallyhook retention"),
        (["retention", "--yes"], 0, "tallyhook retention --yes"),
        (["partners", "probe", "acme", "--wait", "1"], 1, "tallyhook partners probe ACME"),
        (["partners", "probe", "unknown"], 1, None),
        (["outbox", "unpark", "4711"], 1, None),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
async def test_a_command_that_changes_something_is_in_the_audit_log_once(
    connection: psycopg.AsyncConnection, database_url: str, words: Sequence[str], code: int, path: str | None
) -> None:
    run(database_url, *words, code=code)
    noted = await rows(connection, "select method, path, status, client from audit_log")
    assert [(row["method"], row["path"], row["status"]) for row in noted] == ([("CLI", path, 200)] if path else [])
    assert all(row["client"].startswith("tester@") for row in noted)


async def test_events_that_are_put_back_in_line_are_named_in_the_audit_log(gateway: Gateway, database_url: str) -> None:
    await gateway.post(Payment().succeeded())
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        [parked] = await rows(connection, f"with parked as ({PARKED}) select id from parked")
        run(database_url, "outbox", "unpark", str(parked["id"]), "4711", code=1)
        noted = await rows(connection, "select path from audit_log where method = 'CLI'")
    assert [row["path"] for row in noted] == [f"tallyhook outbox unpark {parked['id']}"]
