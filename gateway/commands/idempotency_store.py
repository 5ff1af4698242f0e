"""
Answers by `Idempotency-Key`: one call is handled under a key, and a repeated call gets the same answer.

A call claims its key before it does anything, with the id that its command will have. If it is interrupted before its answer is
kept, or its process dies, the next call under the key takes over the claim and that id, and so writes the same command, not a
second one.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, Connection

from outbox.locks import Kind

KEPT: Final = timedelta(hours=24)
"""The time for which a key is kept; after that it is free again."""
_LEASE: Final = timedelta(seconds=30)
"""The time for which a claim blocks other calls if its holder is alive or not known: longer than any call."""


class Key(NamedTuple):
    """The identity of a call: its scope, its key, and the digest of its request."""

    scope: str
    key: str
    digest: bytes


class Claimed(NamedTuple):
    """The caller may handle the request, under this id."""

    call_id: UUID


class Answer(NamedTuple):
    """The call is done, and this was its answer."""

    status: int
    content_type: str
    body: bytes


class Reused(NamedTuple):
    """The key was used for another request."""


class InProgress(NamedTuple):
    """Another call under this key is being handled."""


Outcome = Claimed | Answer | Reused | InProgress

_CLAIM: Final = f"""
insert into idempotency_keys as k (scope, key, digest, call_id, claimed_until, holder) values (%s, %s, %s, %s, now() + %s, %s)
on conflict (scope, key) do update set claimed_until = excluded.claimed_until, holder = excluded.holder
  where k.status is null and k.digest = excluded.digest and (k.claimed_until < now() or k.holder is not null and not exists (
    select from pg_locks l where l.locktype = 'advisory' and l.classid = {Kind.PRESENCE:d} and l.objid = k.holder::oid
      and l.granted and l.database = (select oid from pg_database where datname = current_database())))
returning call_id
"""
_READ: Final = "select digest, status, content_type, body from idempotency_keys where scope = %s and key = %s"
_MINE: Final = "where scope = %s and key = %s and status is null"


async def claim(connection: AsyncConnection, key: Key, call_id: UUID, holder: int | None = None) -> Outcome:
    """
    Take the key, on a connection in autocommit mode; `call_id` is used where no earlier call has claimed it.

    `holder` is the number under which the caller's process shows that it is alive (`gateway.presence`), None if it does not.
    """
    cursor = await connection.execute(_CLAIM, (*key, call_id, _LEASE, holder))
    if row := await cursor.fetchone():
        return Claimed(row[0])
    found = await (await connection.execute(_READ, (key.scope, key.key))).fetchone()
    if found is None:
        return InProgress()  # released between the two statements: the next attempt gets it
    digest, status, content_type, body = found
    if digest != key.digest:
        return Reused()
    return InProgress() if status is None else Answer(status, content_type, body)


async def keep(connection: AsyncConnection, key: Key, answer: Answer) -> None:
    """Store the answer; the first one stays."""
    statement = f"update idempotency_keys set status = %s, content_type = %s, body = %s {_MINE}"
    await connection.execute(statement, (*answer, key.scope, key.key))


async def release(connection: AsyncConnection, key: Key) -> None:
    """Forget the key: nothing was done under it."""
    await connection.execute(f"delete from idempotency_keys {_MINE}", (key.scope, key.key))


async def break_off(connection: AsyncConnection, key: Key) -> None:
    """Let the next call take over at once, under the same id: it is not known what was done."""
    await connection.execute(f"update idempotency_keys set claimed_until = '-infinity' {_MINE}", (key.scope, key.key))


def forget_expired(connection: Connection, now: datetime) -> int:
    """Delete expired keys; returns their number."""
    return connection.execute("delete from idempotency_keys where created_at < %s", (now - KEPT,)).rowcount
