"""
All dead letters: records that a worker could not handle, and leads that a partner did not accept.

Both are in one list, and `kind` distinguishes them. A retry sends a record to its worker again, through the outbox; a lead gets a
new round of attempts, by a command to its worker. Both can be discarded instead, for good.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from operations.dead_letters import store as dead_letters
from operations.dead_letters.causes import cause_of
from operations.dead_letters.query import DeadLettersQuery, Place
from operations.dead_letters.store import Contents, DeadLetter, SentAs
from operations.errors import OperationError, Reason
from outbox import tasks
from outbox.append import append, event_of
from runtime.tracing import continue_trace, trace_id_of
from schemas.leads import DELIVER, EXHAUSTED, REJECTED, DeliverLead
from schemas.registry import EVENT_TYPES
from schemas.topics import Topic

_CONSUMER: Final = "leads"
_EXCERPT: Final = 2000  # bytes of a record that are shown as text
_REASONS: Final = {"exhausted": EXHAUSTED, "rejected": REJECTED}


class Sent(msgspec.Struct, frozen=True, rename="camel"):
    """The retry is durable; a record that fails again becomes a new dead letter."""

    id: UUID  #: The id of the dead letter.
    sent_as: SentAs | Literal["lead"]
    """`event`: from the outbox. `record`: as it was on Kafka. `lead`: as a new round of attempts."""
    task_id: UUID | msgspec.UnsetType = msgspec.UNSET  #: The task of a lead's new attempts; absent for a record.
    status: Literal["retried"] = "retried"  #: Always `retried`.


class _Lead(msgspec.Struct, frozen=True):
    id: UUID
    partner_id: str
    status: str
    updated_at: datetime
    traceparent: str
    attempts: int
    error: str | None
    excerpt: str | None
    discarded_at: datetime | None
    discarded_by: str | None
    discard_reason: str | None


_LEADS: Final = """
select l.id, l.partner_id, l.status, l.updated_at, l.traceparent, l.attempts, a.error, a.excerpt, d.discarded_at, d.discarded_by,
       d.reason as discard_reason
from leads l left join lead_discards d on d.lead_id = l.id
  left join lead_attempts a on a.lead_id = l.id and a.attempt = l.attempts
where l.status in ('exhausted', 'rejected')
"""
_FIND: Final = (
    _LEADS
    + """
  and (l.updated_at, l.id) > (%(first)s, %(after)s) and (l.updated_at, l.id) < (%(moment)s, %(id)s)
  and (%(lead_status)s::text is null or l.status = %(lead_status)s) and (%(open)s::bool is null or (d.lead_id is null) = %(open)s)
"""
)
_NEWEST: Final = _FIND + "order by l.updated_at desc, l.id desc limit %(limit)s"
_OLDEST: Final = _FIND + "order by l.updated_at, l.id limit %(limit)s"
# The commands of retries; what the worker has made of the lead has the lead as its cause too, but no task. A task may stay
# pending though its command was handled: a lead that is given up because nothing can be written about it settles none.
_ON_ITS_WAY: Final = """
select from outbox o join tasks t on t.id = o.id
where o.causation_id = %s and t.status = 'pending'
  and not exists (select from consumed c where c.event_id = o.id and c.consumer = %s) limit 1
"""


async def find(
    connection: AsyncConnection, query: DeadLettersQuery, limit: int, *, oldest_first: bool = False, after: Place | None = None
) -> list[DeadLetter]:
    """
    Find up to `limit` dead letters that match the query, newest first unless `oldest_first`.

    With `after`, only those after that place: a lead that is sent again stays open until its worker has tried it.
    """
    found = await dead_letters.find(connection, query, limit, oldest_first=oldest_first, after=after)
    if _may_be_leads(query):
        leads = await _find_leads(connection, query, limit, oldest_first=oldest_first, after=after)
        found += [_from_lead(lead) for lead in leads]
    found.sort(key=place_of, reverse=not oldest_first)
    return found[:limit]


def place_of(item: DeadLetter) -> Place:
    """Return the place of a dead letter in the list."""
    return item.set_aside_at, item.id


async def read(connection: AsyncConnection, item_id: UUID) -> tuple[DeadLetter, Contents] | None:
    """Read one dead letter with its record; the record of a lead is its payload."""
    if found := await dead_letters.read(connection, item_id):
        return found
    lead = await _lead(connection, item_id)
    if lead is None:
        return None
    row = await (await connection.execute("select payload from leads where id = %s", (item_id,))).fetchone()
    return _from_lead(lead), Contents(str(item_id).encode(), bytes(row[0]) if row else None, [])


async def retry(connection: AsyncConnection, item_id: UUID, by: str, *, command: UUID | None = None, again: bool = False) -> Sent:
    """
    Send a dead letter again, once. `command` is the id for the command to a lead's worker.

    With `again`, a call with the same `command` was interrupted: if it was committed, its result is returned.
    Raises OperationError: `not_found`, `dead_letter_settled`.
    """
    async with connection.transaction():
        if again and command and await tasks.read(connection, command):
            return Sent(item_id, "lead", command)
        lead = await _lead(connection, item_id, lock=True)
        if lead is None:
            return Sent(item_id, await dead_letters.retry(connection, item_id, by, again=again))
        await _refuse_settled(connection, lead)
        deliver = DeliverLead(lead_id=lead.id, partner_id=lead.partner_id, afresh=True, metadata={"by": by})
        event = event_of(
            deliver,
            aggregate_id=str(lead.id),
            source="/dead-letters",
            occurred_at=datetime.now(UTC),
            trace=continue_trace(lead.traceparent),
            causation_id=lead.id,
        )
        event = msgspec.structs.replace(event, id=command or event.id)
        await tasks.open_task(connection, event.id, DELIVER)
        await append(connection, [event])
        return Sent(item_id, "lead", event.id)


async def discard(connection: AsyncConnection, item_id: UUID, reason: str, by: str, *, again: bool = False) -> None:
    """
    Discard a dead letter for good; with `again`, one that is discarded for the same reason stays as it is.

    Raises OperationError: `not_found`, `dead_letter_settled`.
    """
    async with connection.transaction():
        lead = await _lead(connection, item_id, lock=True)
        if lead is None:
            await dead_letters.discard(connection, item_id, reason, by, again=again)
            return
        if again and lead.discard_reason == reason:
            return
        await _refuse_settled(connection, lead)
        query = "insert into lead_discards (lead_id, reason, discarded_by) values (%s, %s, %s)"
        await connection.execute(query, (item_id, reason, by))


def _may_be_leads(query: DeadLettersQuery) -> bool:
    topic, reasons = Topic.PARTNER_LEADS.value, (None, *_REASONS.values())
    return (
        query.status != "retried"
        and query.fault in (None, "theirs")
        and query.consumer in (None, _CONSUMER)
        and query.topic in (None, topic)
        and query.reason in reasons
    )


async def _find_leads(
    connection: AsyncConnection, query: DeadLettersQuery, limit: int, *, oldest_first: bool, after: Place | None
) -> Sequence[_Lead]:
    (first, earlier), (moment, last) = query.span(after)
    values = {
        "first": first,
        "after": earlier,
        "moment": moment,
        "id": last,
        "limit": limit,
        "lead_status": next((status for status, reason in _REASONS.items() if reason == query.reason), None),
        "open": None if query.status is None else query.status == "open",
    }
    async with connection.cursor(row_factory=class_row(_Lead)) as cursor:
        return await (await cursor.execute(_OLDEST if oldest_first else _NEWEST, values)).fetchall()


async def _lead(connection: AsyncConnection, lead_id: UUID, *, lock: bool = False) -> _Lead | None:
    query = _LEADS + " and l.id = %s" + (" for update of l" if lock else "")
    async with connection.cursor(row_factory=class_row(_Lead)) as cursor:
        return await (await cursor.execute(query, (lead_id,))).fetchone()


async def _refuse_settled(connection: AsyncConnection, lead: _Lead) -> None:
    """Refuse a lead that is discarded, or whose retry its worker has not taken up yet: a discard would not stop that."""
    if lead.discarded_at is not None:
        raise OperationError(Reason.DEAD_LETTER_SETTLED, "this lead has been discarded already")
    if await (await connection.execute(_ON_ITS_WAY, (lead.id, _CONSUMER))).fetchone() is not None:  # the row has no columns
        raise OperationError(
            Reason.DEAD_LETTER_SETTLED, "this lead has been retried already, and its worker has not taken it up yet"
        )


def _from_lead(lead: _Lead) -> DeadLetter:
    reason = _REASONS[lead.status]
    cause = cause_of(reason)
    times = "attempt" if lead.attempts == 1 else "attempts"
    excerpt = f": {lead.excerpt}" if lead.excerpt else ""
    return DeadLetter(
        id=lead.id,
        kind="lead",
        status="discarded" if lead.discarded_at else "open",
        fault=cause.fault,
        reason=reason,
        detail=f"partner {lead.partner_id}, {lead.attempts} {times}, the last one {lead.error or 'failed'}{excerpt}",
        consumer=_CONSUMER,
        topic=EVENT_TYPES["lead.partner.received"].topic,
        set_aside_at=lead.updated_at,
        runbook=cause.runbook,
        event_id=lead.id,
        trace_id=trace_id_of(lead.traceparent),
        settled_at=lead.discarded_at,
        settled_by=lead.discarded_by,
        discard_reason=lead.discard_reason,
        lead=f"/v1/admin/leads/{lead.id}",
    )


def record_of(contents: Contents) -> dict[str, Any]:
    """The record for JSON: its bytes as base64, and the part that is shown as text."""
    return {
        "key": _base64(contents.key),
        "value": _base64(contents.value),
        "headers": contents.headers,
        "keyText": _readable(contents.key),
        "excerpt": _readable(contents.value),
    }


def readable_headers(contents: Contents) -> list[tuple[str, str | None]]:
    """The headers with the beginning of their values as text."""
    return [(name, None if value is None else _readable(b64decode(value))) for name, value in contents.headers]


def _base64(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _readable(value: bytes | None) -> str | None:
    """The beginning as text; bytes that are not UTF-8, and NUL, show as replacement characters."""
    return None if value is None else value[:_EXCERPT].decode(errors="replace").replace("\0", "\ufffd")
