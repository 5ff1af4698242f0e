"""Leads of partners in the database, as the leads worker stores them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from runtime.ids import id_at

if TYPE_CHECKING:
    from uuid import UUID

_LEAD = """
insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version,
                   attempts, failures, next_attempt_at)
values (%(id)s, %(partner)s, %(partner_id)s, %(external)s, %(status)s, %(payload)s, '', %(at)s, %(at)s, 1,
        %(tried)s, %(tried)s, %(next)s)
"""
_ATTEMPT = """
insert into lead_attempts (lead_id, attempt, started_at, ended_at, status, error, excerpt) values (%s, %s, %s, %s, %s, %s, %s)
"""
_BREAKER = """
insert into lead_breakers (partner, opened_at, probe_at, failures, error)
values (%s, now(), now() + interval '1 hour', 7, 'http_500')
"""


def lead_in(database_url: str, status: str = "retrying", **changes: Any) -> UUID:
    """Store a lead of ACME received a minute ago; if it is undelivered, its next attempt is due in an hour."""
    at = datetime.now(UTC) - timedelta(minutes=1)
    row = {
        "id": id_at(at),
        "partner": "ACME",
        "partner_id": "acme",
        "external": "crm-1",
        "payload": b'{"name": "Ada"}',
        "tried": 0,
    }
    row |= {"status": status, "at": at, "next": at + timedelta(hours=1) if status in {"received", "retrying"} else None}
    with psycopg.connect(database_url) as connection:
        connection.execute(_LEAD, row | changes)
    found: UUID = row["id"]
    return found


def attempt_in(database_url: str, lead: UUID, number: int, error: str | None = None, excerpt: str | None = None) -> None:
    """An attempt of the last minute, which took 250 ms."""
    at = datetime.now(UTC) - timedelta(seconds=60 - number)
    status = 500 if error else 204
    with psycopg.connect(database_url) as connection:
        connection.execute(_ATTEMPT, (lead, number, at, at + timedelta(milliseconds=250), status, error, excerpt))


def breaker_in(database_url: str, partner: str = "ACME") -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(_BREAKER, (partner,))
