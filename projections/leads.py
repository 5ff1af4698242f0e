"""
Leads of partners, every attempt to deliver them, and the keys under which they came.

A lead is due at its `next_attempt_at`. While it is being delivered, that is the end of its claim: if the worker dies, the lead
becomes due again, and the attempt that the worker began is shown as interrupted.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    bindparam,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from outbox.tables import metadata
from projections.moments import readable
from projections.selects import read_of
from projections.tables import history
from schemas.leads import LeadStatus

DUE_CHANNEL: Final = "leads_due"
"""Notified when there may be a lead to deliver: a commit has made one due, or a probe was requested."""

leads = Table(
    "leads",
    metadata,
    Column("id", Uuid, primary_key=True),
    # The {ID} of the partner's variables, and its id as it came.
    Column("partner", Text, nullable=False),
    Column("partner_id", Text, nullable=False),
    Column("external_lead_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("version", Integer, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # Attempts that count towards the limit: an interrupted one proves nothing about the partner.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", DateTime(timezone=True)),
    # Commands that wait for the outcome of the next attempt.
    Column("task_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'")),
    # Why an undelivered lead is held back until its delivery is requested.
    Column("suppressed", Text),
    # Attempts in a row during which the worker died; beyond a bound the lead itself is taken for the cause.
    Column("interruptions", Integer, nullable=False, server_default=text("0")),
    CheckConstraint(
        "status in ('received', 'delivering', 'retrying', 'delivered', 'exhausted', 'rejected')",
        name="status_known",
    ),
    CheckConstraint(
        "(status in ('received', 'delivering', 'retrying') and suppressed is null) = (next_attempt_at is not null)",
        name="due_unless_suppressed",
    ),
    CheckConstraint(
        "suppressed is null or status in ('received', 'delivering', 'retrying')",
        name="suppressed_while_undelivered",
    ),
    CheckConstraint("attempts >= failures and failures >= 0", name="failures_are_attempts"),
    CheckConstraint("interruptions >= 0", name="interruptions_not_negative"),
)

Index("leads_due_idx", leads.c.partner, leads.c.next_attempt_at, postgresql_where=leads.c.next_attempt_at.is_not(None))
Index("leads_set_aside_idx", leads.c.updated_at, leads.c.id, postgresql_where=leads.c.status.in_(("exhausted", "rejected")))

Index("leads_partner_id_idx", leads.c.partner, leads.c.id)
Index("leads_external_lead_id_idx", leads.c.external_lead_id)

lead_attempts = Table(
    "lead_attempts",
    metadata,
    Column("lead_id", Uuid, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("status", Integer),
    Column("error", Text),
    Column("excerpt", Text),
    Column("next_attempt_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("lead_id", "attempt"),
    CheckConstraint("ended_at is not null or (status is null and error is null)", name="outcome_when_ended"),
    Index("lead_attempts_started_at_idx", "started_at"),
)

# Leads that an operator has given up: they are not delivered again, even if dead letters are retried.
lead_discards = Table(
    "lead_discards",
    metadata,
    Column("lead_id", Uuid, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("discarded_by", Text, nullable=False),
    Column("discarded_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

# The breaker of each CRM that has failed, as the worker that delivers to it sees it; open from `opened_at` on, tried next at
# `probe_at`. A request to try it now sets `asked_at`; a later `tried_at` shows that it was tried.
lead_breakers = Table(
    "lead_breakers",
    metadata,
    Column("partner", Text, primary_key=True),
    Column("opened_at", DateTime(timezone=True)),
    Column("probe_at", DateTime(timezone=True)),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("tried_at", DateTime(timezone=True)),
    Column("asked_at", DateTime(timezone=True)),
    CheckConstraint("(opened_at is null) = (probe_at is null)", name="open_until_probe"),
)

# An Idempotency-Key of a partner stays bound to the body with which it first came.
lead_keys = Table(
    "lead_keys",
    metadata,
    Column("partner", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("partner", "key"),
)

_BIND_KEY: Final = """
insert into lead_keys as k (partner, key, digest) values (%s, %s, %s)
on conflict (partner, key) do update set digest = k.digest returning digest
"""


async def bind_key(connection: AsyncConnection, partner: str, key: str, digest: bytes) -> bool:
    """Bind the key to the body's digest; False if it is bound to another one."""
    row = await (await connection.execute(_BIND_KEY, (partner, key, digest))).fetchone()
    return row is not None and bytes(row[0]) == digest


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The fields that `docs/contract.md` lists under "Admin HTTP"; unknown values are left out."""


class AttemptView(_View, frozen=True):
    """One attempt to deliver a lead."""

    attempt: int  #: The number of the attempt, counted from 1.
    started_at: datetime  #: When it began.
    ended_at: datetime | None = None  #: When it ended; absent while it runs.
    status: int | None = None  #: The HTTP status of the CRM's answer; absent if there was none.
    error: str | None = None  #: The stable word for the error; absent after a success.
    excerpt: str | None = None  #: The beginning of the CRM's answer.
    next_attempt_at: datetime | None = None  #: When the next attempt is due; absent if none follows.


class LeadEventView(_View, frozen=True):
    """An event of the lead."""

    id: UUID  #: The event's id (`ce_id`).
    type: str  #: The event's type.
    occurred_at: datetime  #: When it happened.


class LeadView(_View, frozen=True):
    """The current state of the lead."""

    id: UUID  #: The lead's id.
    partner_id: str  #: The partner's id, as configured here.
    external_lead_id: str  #: The partner's id of the lead.
    status: LeadStatus  #: The current state.
    payload: msgspec.Raw  #: The lead as the partner sent it, byte for byte.
    attempts: list[AttemptView]  #: Every attempt to deliver the lead, oldest first.
    version: int  #: Number of the lead's events.
    received_at: datetime  #: When the lead arrived.
    updated_at: datetime  #: When the state last changed.
    events: list[LeadEventView]  #: The lead's events, oldest first.
    next_attempt_at: datetime | None = None  #: When the next attempt is due; absent if none is.
    suppressed: str | None = None  #: Why the lead is held back; absent if it is not.


async def lead(connection: AsyncConnection, lead_id: str) -> LeadView | None:
    """Read the lead with that id, with all of its attempts and events, at one moment."""
    try:
        wanted = UUID(lead_id)
    except ValueError:
        return None
    row = await _LEAD.first(connection, wanted=wanted)
    return None if row is None else _view(row)


def _view(row: Mapping[Any, Any]) -> LeadView:
    return LeadView(
        **{name: row[name] for name in _COLUMNS},
        payload=msgspec.Raw(row["payload"]),
        attempts=msgspec.convert(row["attempts"], list[AttemptView]),
        events=msgspec.convert(row["events"], list[LeadEventView]),
    )


_COLUMNS: Final = (
    "id", "partner_id", "external_lead_id", "status", "version", "received_at", "updated_at", "next_attempt_at", "suppressed",
)  # fmt: skip

_ATTEMPT: Final = func.jsonb_build_object(
    "attempt", lead_attempts.c.attempt,
    "startedAt", lead_attempts.c.started_at,
    "endedAt", lead_attempts.c.ended_at,
    "status", lead_attempts.c.status,
    "error", lead_attempts.c.error,
    "excerpt", lead_attempts.c.excerpt,
    "nextAttemptAt", lead_attempts.c.next_attempt_at,
)  # fmt: skip
_EVENT: Final = func.jsonb_build_object(
    "id", history.c.event_id,
    "type", history.c.type,
    "occurredAt", readable(history.c.occurred_at),
)  # fmt: skip
_EMPTY: Final = func.jsonb_build_array()

# Subqueries of one statement, so that state, attempts and events are of one moment.
_LEAD: Final = read_of(
    select(
        *((readable(leads.c[name]) if name.endswith("_at") else leads.c[name]).label(name) for name in _COLUMNS),
        leads.c.payload,
        select(func.coalesce(func.jsonb_agg(aggregate_order_by(_ATTEMPT, lead_attempts.c.attempt)), _EMPTY))
        .where(lead_attempts.c.lead_id == leads.c.id)
        .scalar_subquery()
        .label("attempts"),
        select(func.coalesce(func.jsonb_agg(aggregate_order_by(_EVENT, history.c.event_id)), _EMPTY))
        .where(history.c.aggregate_type == "lead", history.c.aggregate_id == leads.c.id.cast(Text))
        .scalar_subquery()
        .label("events"),
    ).where(leads.c.id == bindparam("wanted", type_=Uuid))
)
