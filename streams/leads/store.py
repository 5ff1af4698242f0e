"""SQL of the handler: stores new leads, updates them by their own events, and makes them due for commands."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection

from outbox.erased import is_marker
from projections.leads import DUE_CHANNEL
from schemas.leads import LeadStatus
from streams.due import announce


class NewLead(NamedTuple):
    id: UUID
    partner: str
    partner_id: str
    external_lead_id: str
    payload: bytes
    traceparent: str
    received_at: datetime


class LockedLead(NamedTuple):
    """The fields of a locked lead that an update of it needs."""

    partner: str
    status: LeadStatus
    attempts: int
    version: int
    task_ids: Sequence[UUID]
    erased: bool = False


_INSERT: Final = """
with v as (
  select * from unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::timestamptz[])
    as t(id, partner, partner_id, external_lead_id, payload, traceparent, received_at)),
kept as (
  insert into leads (id, partner, partner_id, external_lead_id, status, payload, traceparent, received_at, updated_at, version,
                     suppressed, next_attempt_at)
  select id, partner, partner_id, external_lead_id, 'received', payload, traceparent, received_at, received_at, 1,
         held, case when held is null then least(received_at, now()) end
  from v, (select %s::text as held) as w on conflict (id) do nothing)
insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
select 'lead', id::text, id, external_lead_id, 'lead.partner.received', received_at from v on conflict do nothing
"""


async def insert(connection: AsyncConnection, leads: Sequence[NewLead], *, held: str | None = None) -> None:
    """Store new leads, due at once or `held` back for that reason; a lead that exists stays as it is."""
    await connection.execute(_INSERT, [*(list(column) for column in zip(*leads, strict=True)), held])
    if held is None:
        await announce(connection, DUE_CHANNEL)


class OwnEvent(NamedTuple):
    """The state of a lead according to one of its own events."""

    lead_id: UUID
    event_id: UUID
    type: str
    at: datetime
    attempt: int
    version: int
    status: LeadStatus
    answer_status: int | None
    error: str | None
    next_attempt_at: datetime | None


# An event that has been applied to the row has no later version than the row.
_APPLY: Final = """
with moved as (
  update leads set status = %(status)s, version = %(version)s, attempts = greatest(attempts, %(attempt)s), task_ids = '{}',
    next_attempt_at = case when %(held)s::text is null then %(next_attempt_at)s::timestamptz end,
    failures = failures + (%(type)s = 'lead.delivery.failed')::int4, updated_at = %(at)s,
    suppressed = case when %(status)s = 'retrying' then %(held)s::text end
  where id = %(lead_id)s and version < %(version)s returning id),
attempted as (
  insert into lead_attempts as a (lead_id, attempt, started_at, ended_at, status, error, next_attempt_at)
  select id, %(attempt)s, %(at)s, %(at)s, %(answer_status)s, %(error)s, %(next_attempt_at)s from moved
  on conflict (lead_id, attempt) do update set ended_at = excluded.ended_at, status = excluded.status, error = excluded.error,
    next_attempt_at = excluded.next_attempt_at where a.ended_at is null)
insert into history (aggregate_type, aggregate_id, event_id, provider_event_id, type, occurred_at)
select 'lead', id::text, %(event_id)s, %(event_id)s::text, %(type)s, %(at)s from moved on conflict do nothing
"""


async def apply(connection: AsyncConnection, own: OwnEvent, held: str | None = None) -> None:
    """Update a lead to the state in its event; a lead that would be tried again is `held` back for that reason."""
    await connection.execute(_APPLY, {**own._asdict(), "held": held})


# The log may keep an event for longer than the retention keeps its lead. A rebuild has no copy of the cut-offs, and reads these.
_RECEIVED: Final = """
select data, traceparent, occurred_at from outbox o where id = %s and type = 'lead.partner.received'
  and not exists (select from public.retention_cutoffs where kind = 'leads' and uuid_extract_timestamp(o.id) < cutoff)
"""


async def received(connection: AsyncConnection, lead_id: UUID) -> tuple[bytes, str, datetime] | None:
    """
    Read a lead's event from the log: a command may overtake it on Kafka, where topics have no common order.

    The result is None for a lead that the retention has deleted: it would be delivered a second time.
    """
    row = await (await connection.execute(_RECEIVED, (lead_id,))).fetchone()
    return None if row is None else (bytes(row[0]), str(row[1]), row[2])


_LOCK: Final = f"""
select id, partner, status, attempts, version, task_ids, {is_marker("payload")} from leads where id = any(%s)
order by id for update
"""


async def lock(connection: AsyncConnection, lead_ids: Sequence[UUID]) -> dict[UUID, LockedLead]:
    """Lock leads for this transaction; all transactions lock them in the same order."""
    rows = await (await connection.execute(_LOCK, (list(lead_ids),))).fetchall()
    return {row[0]: LockedLead(*row[1:]) for row in rows}


_MAKE_DUE: Final = """
update leads set task_ids = task_ids || %s::uuid, suppressed = null, failures = case when %s then 0 else failures end,
  interruptions = 0,
  next_attempt_at = case when status = 'delivering' then next_attempt_at else least(%s::timestamptz, now()) end,
  status = case when status in ('received', 'delivering') then status else 'retrying' end
where id = %s
"""


async def make_due(
    connection: AsyncConnection, lead_id: UUID, task_id: UUID, since: datetime | None, *, afresh: bool = False
) -> None:
    """
    Make a lead due now, or since an earlier time, so that its next outcome settles the task.

    `afresh` gives it all of its attempts again. A time by a clock that is ahead of Postgres' means now.
    """
    await connection.execute(_MAKE_DUE, (task_id, afresh, since, lead_id))
    await announce(connection, DUE_CHANNEL)
