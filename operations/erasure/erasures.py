"""Carries out erasures, and records the reason, the operator and the number of rows of each; its subject only as a digest."""

import asyncio
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from operations.erasure.erase import Erased, erase
from operations.erasure.search import Found, Progress, find
from operations.erasure.subjects import Kind, Subject

State = Literal["running", "done", "incomplete", "failed"]

PATIENCE: Final = 10
"""The number of retries, a second apart, for rows that are still on their way, before an erasure ends incomplete."""
_QUIET: Final = 60  # seconds without progress, after which a running erasure counts as broken off


class Erasure(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The erasure and its progress."""

    id: UUID  #: The id of the erasure.
    kind: Kind  #: The kind of subject.
    subject: str  #: The SHA-256 of `KIND:ID`, so that the log does not name the subject.
    reason: str  #: Why the subject was erased.
    requested_by: str  #: The public id of the operator's token.
    state: State  #: `incomplete` if rows were still on their way; the same erasure again erases those.
    stage: str  #: The current step.
    erased: dict[str, int]  #: Number of erased rows, by kind.
    waiting: int  #: Number of rows that were still on their way.
    created_at: datetime  #: When it began.
    kafka_until: datetime | None = None  #: When Kafka's retention removes the last copy.
    finished_at: datetime | None = None  #: When it ended; absent before.
    failure: str | None = None  #: The error in words; absent unless it failed.
    broken_off: bool = False  #: True if the process that ran it is gone.


class Outlook(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """With `dryRun`: the rows that an erasure would erase; nothing has changed."""

    would_erase: dict[str, int]  #: Number of rows that would be erased, by kind.
    documents: list[str]  #: Search documents that mention the subject; delete these with `POST /internal/v1/search/index`.
    kafka_until: datetime | None = None  #: When Kafka's retention would remove the last copy.


_BEGIN: Final = """
insert into erasures (id, kind, subject, reason, requested_by) values (%s, %s, %s, %s, %s) on conflict do nothing
"""
_STAGE: Final = "update erasures set stage = %s, touched_at = now() where id = %s and state = 'running'"
_END: Final = """
update erasures set state = %(state)s, stage = 'ended', erased = %(erased)s, waiting = %(waiting)s, kafka_until = %(kafka_until)s,
  failure = %(failure)s, finished_at = now(), touched_at = now()
where id = %(id)s and state = 'running'
"""
_READ: Final = f"""
select id, kind, encode(subject, 'hex') as subject, reason, requested_by, state, stage, erased, waiting, created_at, kafka_until,
  finished_at, failure, state = 'running'
    and touched_at not between now() - make_interval(secs => {_QUIET}) and now() + make_interval(secs => {_QUIET}) as broken_off
from erasures
"""


async def preview(connection: AsyncConnection, subject: Subject, progress: Progress = lambda *_: None) -> Outlook:
    """Preview an erasure; nothing is changed."""
    return outlook_of(await find(connection, subject, progress))


def outlook_of(found: Found) -> Outlook:
    counts = {name: number for name, number in found.counts.items() if number}
    return Outlook(would_erase=counts, documents=found.documents, kafka_until=found.kafka_until)


async def begin(connection: AsyncConnection, erasure_id: UUID, subject: Subject, *, reason: str, by: str) -> None:
    """Record the beginning of an erasure; the same id again changes nothing."""
    await connection.execute(_BEGIN, (erasure_id, subject.kind, subject.digest, reason, by))


async def carry_out(
    connection: AsyncConnection,
    erasure_id: UUID,
    subject: Subject,
    *,
    by: str,
    progress: Progress = lambda *_: None,
    patience: int = PATIENCE,
) -> Found:
    """
    Search and erase, on a connection in autocommit mode, and retry rows that are on their way; return what was found at first.

    It may be stopped and started again at any time: erased rows stay erased.
    """
    try:
        await connection.execute(_STAGE, ("searching", erasure_id))
        first = found = await find(connection, subject, progress)
        total: dict[str, int] = {}
        for left in range(patience, -1, -1):
            await connection.execute(_STAGE, ("erasing", erasure_id))
            outcome = await erase(connection, found, erasure_id, by, progress)
            total = {name: total.get(name, 0) + outcome.counts.get(name, 0) for name in {*total, *outcome.counts}}
            if outcome.waiting == 0 or left == 0:
                break
            await asyncio.sleep(1)
            found = found.unerased()
        await _end(connection, erasure_id, Erased(total, outcome.waiting), first)
    except Exception as error:
        failure = {"state": "failed", "erased": Jsonb({}), "waiting": 0, "kafka_until": None, "failure": type(error).__name__}
        await connection.execute(_END, {**failure, "id": erasure_id})
        raise
    return first


async def read(connection: AsyncConnection, erasure_id: UUID) -> Erasure | None:
    found = await _read(connection, f"{_READ} where id = %s", (erasure_id,))
    return found[0] if found else None


async def read_all(connection: AsyncConnection, first: UUID, before: UUID, limit: int) -> list[Erasure]:
    """Read the erasures with `first` <= id < `before`, newest first."""
    return await _read(connection, f"{_READ} where id >= %s and id < %s order by id desc limit %s", (first, before, limit))


async def of_subject(connection: AsyncConnection, subject: Subject) -> list[Erasure]:
    """Read the erasures of the subject, newest first."""
    return await _read(connection, f"{_READ} where subject = %s order by id desc", (subject.digest,))


async def _end(connection: AsyncConnection, erasure_id: UUID, outcome: Erased, found: Found) -> None:
    state: State = "incomplete" if outcome.waiting else "done"
    values = {"state": state, "erased": Jsonb(outcome.counts), "waiting": outcome.waiting, "kafka_until": found.kafka_until}
    await connection.execute(_END, {**values, "failure": None, "id": erasure_id})


async def _read(connection: AsyncConnection, query: str, values: Any) -> list[Erasure]:
    async with connection.cursor(row_factory=class_row(Erasure)) as cursor:
        return await (await cursor.execute(query, values)).fetchall()
