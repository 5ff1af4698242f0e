"""
The SQL that finds, reads, retries and discards dead letters.

A letter is `open` until an operator settles it, once: `retried` or `discarded`, both for good. A retried record that fails again
becomes a new letter, which names the earlier one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import kwargs_row

from operations.dead_letters.causes import THEIRS, Fault, cause_of
from operations.dead_letters.query import DeadLettersQuery, Place, Status
from operations.errors import OperationError, Reason
from outbox import sending
from outbox.append import append, shard_of
from outbox.resend import raw_record, resend_of
from runtime.tracing import Trace, new_trace

Kind = Literal["record", "lead"]
SentAs = Literal["event", "record"]


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A record that a worker could not handle, or a lead that a partner did not accept."""

    id: UUID  #: The id of the dead letter; a lead's own id.
    kind: Kind  #: `record` from Kafka, or `lead`.
    status: Status  #: `open` until it is retried or discarded.
    fault: Fault  #: `ours`: a deployment, a setting or one of your services is wrong. `theirs`: a provider or partner is.
    reason: str  #: The stable word for the error.
    detail: str  #: The error in words.
    consumer: str  #: The worker role that could not handle it.
    topic: str  #: The topic of the record.
    set_aside_at: datetime  #: When it was recorded as a dead letter.
    runbook: str  #: The page that describes the remedy.
    partition: int | None = None  #: The partition of the record; absent for a lead.
    offset: int | None = None  #: The offset of the record; absent for a lead, or if Kafka has lost it and another is there.
    event_id: UUID | None = None  #: The event's id (`ce_id`); absent if unreadable.
    trace_id: str | None = None  #: The trace of the event; absent if unreadable.
    earlier_id: UUID | None = None  #: The dead letter whose retry failed again as this one.
    settled_at: datetime | None = None  #: When it was retried or discarded.
    settled_by: str | None = None  #: The public id of the operator's token.
    discard_reason: str | None = None  #: Why it was discarded.
    lead: str | None = None  #: The path of the lead's state; absent for a record.


def _letter(*, reason: str, **fields: Any) -> DeadLetter:
    cause = cause_of(reason)
    return DeadLetter(kind="record", fault=cause.fault, runbook=cause.runbook, reason=reason, **fields)


class Contents(NamedTuple):
    """The record itself, byte for byte; the values of headers are base64."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | None]]


_COLUMNS: Final = """
id, consumer, reason, detail, topic, partition, "offset", event_id, trace_id, status, created_at as set_aside_at, earlier_id,
settled_at, settled_by, discard_reason
"""
_FIND: Final = f"""
select {_COLUMNS} from dead_letters
where (created_at, id) > (%(first)s, %(after)s) and (created_at, id) < (%(moment)s, %(id)s)
  and (%(status)s::text is null or status = %(status)s) and (%(consumer)s::text is null or consumer = %(consumer)s)
  and (%(reason)s::text is null or reason = %(reason)s) and (%(topic)s::text is null or topic = %(topic)s)
  and (%(fault)s::text is null or (reason = any(%(theirs)s)) = (%(fault)s = 'theirs'))
"""
_NEWEST: Final = _FIND + "order by created_at desc, id desc limit %(limit)s"
_OLDEST: Final = _FIND + "order by created_at, id limit %(limit)s"


async def find(
    connection: AsyncConnection, query: DeadLettersQuery, limit: int, *, oldest_first: bool = False, after: Place | None = None
) -> list[DeadLetter]:
    """Find up to `limit` letters, newest first unless `oldest_first`; with `after`, only those after that place."""
    (first, earlier), (moment, last) = query.span(after)
    names = ("status", "consumer", "reason", "topic", "fault")
    values = {name: getattr(query, name) for name in names}
    values |= {"first": first, "after": earlier, "moment": moment, "id": last, "limit": limit, "theirs": list(THEIRS)}
    async with connection.cursor(row_factory=kwargs_row(_letter)) as cursor:
        return await (await cursor.execute(_OLDEST if oldest_first else _NEWEST, values)).fetchall()


async def read(connection: AsyncConnection, letter_id: UUID) -> tuple[DeadLetter, Contents] | None:
    """Read one letter with its record."""
    async with connection.cursor(row_factory=kwargs_row(_letter)) as cursor:
        letter = await (await cursor.execute(f"select {_COLUMNS} from dead_letters where id = %s", (letter_id,))).fetchone()
    query = "select key, value, headers from dead_letters where id = %s"
    row = await (await connection.execute(query, (letter_id,))).fetchone()
    return None if letter is None or row is None else (letter, _contents(row))


# The event of the log, if the record is equal to it; any other record is sent as raw bytes.
_LOGGED: Final = "select aggregate_id from outbox where id = %s and topic = %s and data = %s"
_UNMARK: Final = "delete from consumed where event_id = %s and consumer = %s"
_REOPEN_TASK: Final = """
update tasks set status = 'pending', settled_at = null, reason = null where id = %s and status = 'failed' and reason = %s
"""
_RETRY: Final = """
update dead_letters set status = 'retried', settled_at = now(), settled_by = %(by)s where id = %(id)s and status = 'open'
returning consumer, reason, topic, event_id, trace_id, key, value, headers
"""
_DISCARD: Final = """
update dead_letters set status = 'discarded', settled_at = now(), settled_by = %(by)s, discard_reason = %(why)s
where id = %(id)s and status = 'open' returning id
"""


async def retry(connection: AsyncConnection, letter_id: UUID, by: str, *, again: bool = False) -> SentAs:
    """
    Send a letter to its worker again: one transaction settles it, deletes its mark, and appends it to the outbox.

    It is sent with the id of its event; every other worker that reads the topic has a mark of that event, and skips it.
    With `again`, a letter that is retried already is not sent, and the answer is that of its retry. Raises OperationError.
    """
    async with connection.transaction():
        row = await (await connection.execute(_RETRY, {"id": letter_id, "by": by})).fetchone()
        if row is None:
            if again and (sent := await _sent(connection, letter_id)):
                return sent
            raise await _refusal(connection, letter_id)
        consumer, reason, topic, event_id, trace_id, *record = row
        if event_id is not None:
            await connection.execute(_UNMARK, (event_id, consumer))
            await connection.execute(_REOPEN_TASK, (event_id, reason))
            await sending.follow_again(connection, [event_id])
            if await _send_event(connection, letter_id, event_id, topic, record[1]):
                return "event"
        trace = Trace(trace_id, trace_id[16:]) if trace_id else new_trace()
        raw = raw_record(*_contents(record))
        event = resend_of(raw, topic, letter=letter_id, event_id=event_id, now=datetime.now(UTC), trace=trace)
        await append(connection, [event])
        return "record"


async def discard(connection: AsyncConnection, letter_id: UUID, reason: str, by: str, *, again: bool = False) -> None:
    """
    Discard a letter for good; with `again`, one that is discarded for the same reason stays as it is.

    Raises OperationError.
    """
    async with connection.transaction():
        row = await (await connection.execute(_DISCARD, {"id": letter_id, "by": by, "why": reason})).fetchone()
        if row is None and not (again and await _is_discarded(connection, letter_id, reason)):
            raise await _refusal(connection, letter_id)


async def open_letters(connection: AsyncConnection) -> list[tuple[str, str, int]]:
    """The number of open letters, by consumer and reason."""
    query = "select consumer, reason, count(*) from dead_letters where status = 'open' group by 1, 2"
    return [(row[0], row[1], row[2]) for row in await (await connection.execute(query)).fetchall()]


async def _send_event(connection: AsyncConnection, letter_id: UUID, event_id: UUID, topic: str, value: bytes | None) -> bool:
    row = await (await connection.execute(_LOGGED, (event_id, topic, value))).fetchone()
    if row is not None:
        await sending.send(connection, [(event_id, shard_of(row[0]))], replay_id=letter_id)
    return row is not None


async def _sent(connection: AsyncConnection, letter_id: UUID) -> SentAs | None:
    """Return how a letter was retried, or None if it was not."""
    query = "select event_id, topic, value from dead_letters where id = %s and status = 'retried'"
    row = await (await connection.execute(query, (letter_id,))).fetchone()
    if row is None:
        return None
    return "event" if await (await connection.execute(_LOGGED, row)).fetchone() else "record"


async def _is_discarded(connection: AsyncConnection, letter_id: UUID, reason: str) -> bool:
    query = "select from dead_letters where id = %s and status = 'discarded' and discard_reason = %s"
    return await (await connection.execute(query, (letter_id, reason))).fetchone() is not None


async def _refusal(connection: AsyncConnection, letter_id: UUID) -> OperationError:
    row = await (await connection.execute("select status from dead_letters where id = %s", (letter_id,))).fetchone()
    if row is None:
        return OperationError(Reason.NOT_FOUND, "no dead letter has this id")
    return OperationError(Reason.DEAD_LETTER_SETTLED, f"this dead letter has been {row[0]} already")


def _contents(row: Sequence[Any]) -> Contents:
    return Contents(row[0], row[1], [(name, value) for name, value in row[2]])
