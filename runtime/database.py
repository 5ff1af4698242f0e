"""Pools of connections to Postgres."""

from datetime import timedelta
from typing import Final
from weakref import WeakSet

from psycopg import AsyncConnection, InterfaceError, OperationalError
from psycopg.errors import (
    CheckViolation,
    DeadlockDetected,
    IdleInTransactionSessionTimeout,
    InsufficientPrivilege,
    ProgramLimitExceeded,
    ReadOnlySqlTransaction,
    SerializationFailure,
)
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from runtime.sessions import (
    DEFAULT_LEASE,
    SET,
    Session,
    client_options,
    columns_of,
    is_read_only,
    reports_read_only,
    require_writable,
    server_settings,
)

Pool = AsyncConnectionPool[AsyncConnection]

# Errors that the data does not cause: the same statement may succeed later.
UNAVAILABLE = (
    OperationalError,
    InterfaceError,
    PoolTimeout,
    SerializationFailure,
    DeadlockDetected,
    IdleInTransactionSessionTimeout,
    ReadOnlySqlTransaction,
)

_STATEMENT: Final = timedelta(seconds=30)
"""The time limit of a statement of a pool: it fails then, and may be tried again, instead of waiting for ever."""


def is_missing_day(error: BaseException) -> bool:
    """Return true if a row found no partition for the day of its id: the upkeep of days has stopped, or a clock is wrong."""
    return isinstance(error, CheckViolation) and error.diag.constraint_name is None


def passing_reason(error: BaseException) -> str | None:
    """
    Return the reason why the same statement may succeed later, or None if the data is at fault.

    The reason is `postgres_unavailable`, `postgres_refuses`, `partition_missing`, or the error's own if it has one
    (`runtime.lease.LeaseLost`).
    """
    if isinstance(error, ProgramLimitExceeded):
        return None  # a value too long for an index; psycopg counts it among the operational errors
    if isinstance(error, InsufficientPrivilege):
        return "postgres_refuses"  # not the fault of the data; a grant removes it
    if isinstance(error, UNAVAILABLE):
        return str(getattr(error, "reason", "postgres_unavailable"))
    return "partition_missing" if is_missing_day(error) else None


def make_pool(
    url: str,
    *,
    size: int,
    name: str,
    lease: timedelta = DEFAULT_LEASE,
    search_path: str = "",
    statement: timedelta | None = _STATEMENT,
) -> Pool:
    """
    A pool that connects to nothing until it is opened; its connections are in autocommit mode.

    A transaction of a process that was stopped or is gone ends within the lease, and with it the locks on rows that others wait
    for. With a `search_path` the connections see only the tables of those schemas. `statement` limits each statement; with None
    there is no limit.
    """

    async def bound(connection: AsyncConnection) -> None:
        await connection.execute(SET, columns_of(server_settings(lease, holds=False, statement=statement) | path))
        if await is_read_only(connection) != reports_read_only(connection):
            misreported.add(connection)

    async def writable(connection: AsyncConnection) -> None:
        # The pool drops a connection for which this raises; `target_session_attrs` makes the next one reach the primary.
        # A pooler's untrue report would drop every connection, or keep a read-only one, for ever: then the server is asked.
        asked = connection in misreported
        require_writable(read_only=await is_read_only(connection) if asked else reports_read_only(connection))

    misreported: WeakSet[AsyncConnection] = WeakSet()
    path = {"search_path": search_path} if search_path else {}
    return AsyncConnectionPool(
        url,
        connection_class=Session,
        min_size=1,
        max_size=size,
        open=False,
        timeout=5.0,
        # After an outage the next caller starts a fresh attempt; a long-lived one would have backed off to minutes by then.
        reconnect_timeout=3.0,
        name=name,
        configure=bound,
        reset=writable,
        kwargs={
            "autocommit": True,
            "application_name": f"tallyhook {name}",
            **client_options(lease),
            "prepare_threshold": 0,
        },
    )
