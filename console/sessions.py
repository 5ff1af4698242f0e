"""
Sessions of browsers, and one-time links that open one. They are in Postgres, so that every gateway can check and end them.

A key is 256 random bits that only its holder has; the table has its digest. Each key belongs to a token of the settings, by the
token's public id, so it is invalid once that token is dropped.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Final, Literal, NamedTuple

from psycopg import AsyncConnection, Connection

SESSION_LASTS: Final = timedelta(hours=12)
LINK_LASTS: Final = timedelta(minutes=15)

Role = Literal["admin", "reader"]


class Holder(NamedTuple):
    """The caller to whom a key belongs: its role, and the public id of its token."""

    role: Role
    secret_id: str


# A key that lasts longer than any was made while the clock was ahead.
_VALID: Final = (
    f"expires_at > now() and expires_at <= now() + make_interval(secs => case kind when 'link' then"
    f" {LINK_LASTS.total_seconds()} else {SESSION_LASTS.total_seconds()} end) + interval '1 minute'"
)
_ADD: Final = """
insert into console_keys (digest, kind, role, secret_id, expires_at)
values (%(digest)s, %(kind)s, %(role)s, %(secret_id)s, now() + %(lasts)s)
"""
_FIND: Final = f"select role, secret_id from console_keys where digest = %s and kind = 'session' and {_VALID}"
_REDEEM: Final = f"delete from console_keys where digest = %s and kind = 'link' and {_VALID} returning role, secret_id"


async def begin_session(connection: AsyncConnection, holder: Holder) -> str:
    """Begin a session and return its key."""
    return await _add(connection, "session", holder, SESSION_LASTS)


async def find_session(connection: AsyncConnection, key: str) -> Holder | None:
    """Return the holder of a session that has not ended."""
    row = await (await connection.execute(_FIND, (_digest(key),))).fetchone()
    return Holder(*row) if row else None


async def end_session(connection: AsyncConnection, key: str) -> None:
    """End a session, for every gateway."""
    await connection.execute("delete from console_keys where digest = %s and kind = 'session'", (_digest(key),))


async def make_link(connection: AsyncConnection, holder: Holder) -> str:
    """Make a link's key, which opens one session within `LINK_LASTS`."""
    return await _add(connection, "link", holder, LINK_LASTS)


async def redeem_link(connection: AsyncConnection, key: str) -> Holder | None:
    """Delete a link and return its holder; None if it is unknown, used or expired."""
    row = await (await connection.execute(_REDEEM, (_digest(key),))).fetchone()
    return Holder(*row) if row else None


def forget_keys(connection: Connection) -> int:
    """Delete expired keys, and return how many."""
    return connection.execute(f"delete from console_keys where not ({_VALID})").rowcount


def form_token(key: str) -> str:
    """Return the token that every form of a session includes; the session's key cannot be derived from it."""
    return hmac.new(_bytes(key), b"form", hashlib.sha256).hexdigest()


async def _add(connection: AsyncConnection, kind: str, holder: Holder, lasts: timedelta) -> str:
    key = secrets.token_urlsafe(32)
    await connection.execute(_ADD, {"digest": _digest(key), "kind": kind, "lasts": lasts, **holder._asdict()})
    return key


def _digest(key: str) -> bytes:
    return hashlib.sha256(_bytes(key)).digest()


def _bytes(key: str) -> bytes:
    """Return the bytes of a key, also of an invalid one that a browser has sent."""
    return key.encode("utf-8", "surrogatepass")
