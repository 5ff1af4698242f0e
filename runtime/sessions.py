"""
Postgres sessions that the server ends when their client falls silent, so that their locks and transactions are released.

Each way to fall silent has a setting of the server that ends the session:

- A process is stopped or hangs (its kernel still answers): `idle_session_timeout`, and within a transaction
  `idle_in_transaction_session_timeout`.
- A host is gone: `tcp_keepalives_*` while nothing is under way; `tcp_user_timeout` while the server sends, also to a stopped
  client whose window is full; `client_connection_check_interval` while the server works on a statement.
- A statement does not end: `statement_timeout`.

The client gives up a server that is gone in the same way. A statement sets the server's settings, not start-up options: a pooler
in session mode passes statements on, while PgBouncer refuses unknown options or drops them silently. Over a Unix socket the TCP
settings have no effect.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, LiteralString, Self

from psycopg import AsyncConnection, Connection, OperationalError
from typing_extensions import override

from runtime.renewal import logins

DEFAULT_LEASE: Final = timedelta(seconds=10)
KEEPALIVES: Final = 4
"""The number of statements in each lease by which a session that holds locks shows that it is alive."""
CONNECT_TIMEOUT: Final = 5  # seconds

_STATE: Final[LiteralString] = "show transaction_read_only"  # `on` on a standby, too
SET: Final[LiteralString] = "select set_config(name, value, false) from unnest(%s::text[], %s::text[]) as t(name, value)"


def server_settings(lease: timedelta, *, holds: bool, statement: timedelta | None) -> dict[str, str]:
    """
    Return the server settings that end a silent session within the lease; its times are in UTC.

    A session that `holds` locks must not be idle for longer than the lease; any other session may be.
    """
    milliseconds = round(lease.total_seconds() * 1000)
    settings = {
        "idle_in_transaction_session_timeout": milliseconds,
        "tcp_keepalives_idle": _seconds(lease / 2),
        "tcp_keepalives_interval": _seconds(lease / 8),
        "tcp_keepalives_count": 4,
        "tcp_user_timeout": milliseconds,
        "client_connection_check_interval": milliseconds // 4,
    }
    if holds:
        settings["idle_session_timeout"] = milliseconds
    if statement is not None:
        settings["statement_timeout"] = round(statement.total_seconds() * 1000)
    return {"timezone": "UTC"} | {name: str(value) for name, value in settings.items()}


def client_options(lease: timedelta) -> dict[str, Any]:
    """Return the client settings that give up a server that is gone."""
    return {
        "connect_timeout": CONNECT_TIMEOUT,
        "keepalives_idle": _seconds(lease / 2),
        "keepalives_interval": _seconds(lease / 8),
        "keepalives_count": 4,
        "tcp_user_timeout": round(lease.total_seconds() * 1000),
    }


class Session(AsyncConnection):
    """A connection with the current login; if the server does not accept its password yet, with the previous one."""

    @classmethod
    @override
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        newest, *before = logins(conninfo)
        try:
            return await super().connect(newest, **options)
        except OperationalError as error:
            if not (before and _is_refused(error)):
                raise
        return await super().connect(before[0], **options)


class _BlockingSession(Connection):
    """The same for threads."""

    @classmethod
    @override
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        newest, *before = logins(conninfo)
        try:
            return super().connect(newest, **options)
        except OperationalError as error:
            if not (before and _is_refused(error)):
                raise
        return super().connect(before[0], **options)


def _is_refused(error: OperationalError) -> bool:
    """Return whether the server requested a password; the text of its refusal is in the server's own language."""
    return bool(error.pgconn and error.pgconn.used_password)


def connect(
    url: str, *, name: str, lease: timedelta = DEFAULT_LEASE, holds: bool = False, statement: timedelta | None = None
) -> Connection:
    """Connect in autocommit mode, under the application name `tallyhook <name>`."""
    connection = _BlockingSession.connect(url, autocommit=True, application_name=f"tallyhook {name}", **client_options(lease))
    try:
        connection.execute(SET, columns_of(server_settings(lease, holds=holds, statement=statement)))
    except BaseException:
        connection.close()
        raise
    return connection


async def connect_async(
    url: str,
    *,
    name: str,
    lease: timedelta = DEFAULT_LEASE,
    holds: bool = False,
    statement: timedelta | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
    writable: bool = False,
) -> AsyncConnection:
    """
    Connect in autocommit mode, under the application name `tallyhook <name>`, with these additional settings of the server.

    With `writable`, a server that accepts no writes is refused like one that is away.
    """
    options = client_options(lease)
    connection = await Session.connect(url, autocommit=True, application_name=f"tallyhook {name}", **options)
    try:
        await connection.execute(SET, columns_of({**server_settings(lease, holds=holds, statement=statement), **settings}))
        if writable:
            await check_writable_async(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


def check_writable(connection: Connection) -> None:
    """
    Ask the server whether the session accepts writes.

    A standby does not, and neither does a primary that was fenced off or is short of disk (`default_transaction_read_only`).
    Raises psycopg.OperationalError.
    """
    require_writable(read_only=connection.execute(_STATE, prepare=False).fetchone() == ("on",))


async def check_writable_async(connection: AsyncConnection) -> None:
    """Do the same in an event loop."""
    require_writable(read_only=await is_read_only(connection))


def require_writable(*, read_only: bool) -> None:
    """Raise psycopg.OperationalError for a session that accepts no writes."""
    if read_only:
        raise OperationalError("this session accepts no writes: the server is a standby, or read-only")


async def is_read_only(connection: AsyncConnection) -> bool:
    """Ask the server whether the session accepts no writes."""
    return await (await connection.execute(_STATE, prepare=False)).fetchone() == ("on",)


def reports_read_only(connection: AsyncConnection) -> bool:
    """
    Return whether the session accepts no writes, by the state that libpq knows: the server reports a change with its next answer.

    Behind PgBouncer the state at the beginning may be untrue: it is what the server reported at the first login of the pool.
    """
    return "on" in map(connection.info.parameter_status, ("in_hot_standby", "default_transaction_read_only"))


async def wait(connection: AsyncConnection, seconds: float, lease: timedelta, woken: asyncio.Event | None = None) -> None:
    """
    Wait until the time is over or `woken` is set, as by a notification, and keep the session alive meanwhile.

    Raises psycopg.OperationalError as soon as the connection is lost.
    """
    every = lease.total_seconds() / KEEPALIVES
    while seconds > 0 and not (woken and woken.is_set()):
        # If the server has ended the connection, and not only sent a notification, this statement fails.
        await readable(connection, min(seconds, every))
        await connection.execute("select 1")
        seconds -= every


async def readable(connection: AsyncConnection, seconds: float | None = None, found: asyncio.Event | None = None) -> None:
    """
    Wait until the server has sent something, has ended the connection, other code has set `found`, or the time is over.

    psycopg's own wait for notifications wakes ten times a second.
    """
    loop, found, number = asyncio.get_running_loop(), found or asyncio.Event(), connection.fileno()
    loop.add_reader(number, found.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await found.wait()
    finally:
        loop.remove_reader(number)


@asynccontextmanager
async def kept_alive(connection: AsyncConnection, lease: timedelta) -> AsyncIterator[None]:
    """Keep the session alive while the block waits for something else, such as in an open transaction."""
    done = asyncio.Event()
    keeping = asyncio.create_task(_keep_alive(connection, lease, done))
    try:
        yield
    finally:
        done.set()
        await asyncio.gather(keeping, return_exceptions=True)  # the next statement meets the same error


async def _keep_alive(connection: AsyncConnection, lease: timedelta, done: asyncio.Event) -> None:
    # It ends by an event, not by cancellation: a cancelled statement would abort the transaction.
    while not done.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), lease.total_seconds() / KEEPALIVES)
        if not done.is_set():
            await connection.execute("select 1")


def columns_of(settings: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The parameters of `SET`."""
    return [*settings.keys()], [*settings.values()]


def _seconds(duration: timedelta) -> int:
    return max(1, round(duration.total_seconds()))
