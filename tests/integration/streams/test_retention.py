"""Leads and notifications are deleted after their retention, with all that belongs to them, never before they are settled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from projections import retention
from projections.retention import Forgotten, RecordSettings, forget_records
from runtime.ids import first_id_of

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime.now(UTC)
SETTINGS = RecordSettings.load({"LEAD_RETENTION_DAYS": "100", "NOTIFICATION_RETENTION_DAYS": "10"})


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def put_lead(connection: psycopg.Connection, name: str, status: str, *, came: int, changed: int) -> None:
    """Store a lead received and changed `days` days ago, with an attempt and an event."""
    then = NOW - timedelta(days=came)
    lead_id, due = first_id_of(then + timedelta(milliseconds=len(name))), NOW if status == "retrying" else None
    connection.execute(
        """insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at,
             version, attempts, next_attempt_at) values (%s, 'ACME', 'acme', %s, %s, '{}', 't', %s, %s, 1, 1, %s)""",
        (lead_id, name, status, then, NOW - timedelta(days=changed), due),
    )
    connection.execute("insert into lead_attempts (lead_id, attempt, started_at) values (%s, 1, now())", (lead_id,))
    connection.execute(
        """insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
           values ('lead', %s, %s, 'x', 'lead.partner.received', now())""",
        (str(lead_id), lead_id),
    )


def test_settled_leads_go_with_all_that_belongs_to_them(connection: psycopg.Connection) -> None:
    put_lead(connection, "old", "delivered", came=102, changed=101)
    put_lead(connection, "given up", "exhausted", came=300, changed=200)
    put_lead(connection, "still tried", "retrying", came=300, changed=200)
    put_lead(connection, "tried again lately", "delivered", came=301, changed=99)
    put_lead(connection, "young", "delivered", came=99, changed=99)
    for key, days in (("old", 101), ("young", 99)):
        statement = "insert into lead_keys (partner, key, digest, created_at) values ('ACME', %s, '', %s)"
        connection.execute(statement, (key, NOW - timedelta(days=days)))
    assert forget_records(connection, SETTINGS, NOW) == Forgotten(leads=2, lead_keys=1, notifications=0)
    left = {name for (name,) in connection.execute("select external_lead_id from leads")}
    assert left == {"still tried", "tried again lately", "young"}
    for table, column in (("lead_attempts", "lead_id::text"), ("history", "aggregate_id")):
        rows = connection.execute(f"select {column} from {table} order by 1").fetchall()
        assert rows == connection.execute("select id::text from leads order by 1").fetchall()
    assert connection.execute("select key from lead_keys").fetchall() == [("young",)]


def test_a_lead_that_is_held_back_waits_for_its_operator(connection: psycopg.Connection) -> None:
    put_lead(connection, "held", "retrying", came=300, changed=200)
    connection.execute("update leads set suppressed = 'replay', next_attempt_at = null")
    assert forget_records(connection, SETTINGS, NOW).leads == 0
    connection.execute("update leads set status = 'delivered', suppressed = null")
    assert forget_records(connection, SETTINGS, NOW).leads == 1


@pytest.mark.parametrize(("status", "days", "stays"), [("sent", 11, 0), ("failed", 11, 0), ("queued", 400, 1), ("sent", 9, 1)])
def test_notifications_go_when_they_are_settled(connection: psycopg.Connection, status: str, days: int, stays: int) -> None:
    then, due = NOW - timedelta(days=days), NOW if status == "queued" else None
    connection.execute(
        """insert into notifications (id, recipient, channel, template, data, message_id, address, status, reason, traceparent,
             updated_at, next_attempt_at) values (%s, 'u', 'EMAIL', 't', '{}', 'm', 'a@example.com', %s, 'r', 't', %s, %s)""",
        (first_id_of(then), status, then, due),
    )
    assert forget_records(connection, SETTINGS, NOW).notifications == 1 - stays


def test_rows_beyond_one_batch_are_deleted_too(connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(5):
        put_lead(connection, "x" * number, "rejected", came=200 + number, changed=150)
    assert forget_records(connection, SETTINGS, NOW).leads == 5
