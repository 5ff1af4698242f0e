"""Connections to Postgres: psycopg for the hot paths, a SQLAlchemy engine over psycopg for everything else."""

from psycopg import AsyncConnection, InterfaceError, OperationalError
from psycopg.errors import CheckViolation, DeadlockDetected, ProgramLimitExceeded, SerializationFailure
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

Pool = AsyncConnectionPool[AsyncConnection]

# Errors that say nothing about the data: the same statement may pass later.
UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeout, SerializationFailure, DeadlockDetected)

_SCHEME = "postgresql://"


def is_missing_day(error: BaseException) -> bool:
    """Whether a row found no partition for the day of its id: the upkeep of days has stopped, or a clock is wrong."""
    return isinstance(error, CheckViolation) and error.diag.constraint_name is None


def passing_reason(error: BaseException) -> str | None:
    """Why the same statement may pass later: `postgres_unavailable` or `partition_missing`; None where it is the data's fault."""
    if isinstance(error, ProgramLimitExceeded):
        return None  # a value too long for an index; psycopg counts it among the operational errors
    if isinstance(error, UNAVAILABLE):
        return "postgres_unavailable"
    return "partition_missing" if is_missing_day(error) else None


def make_pool(url: str, *, size: int, name: str, search_path: str = "") -> Pool:
    """
    A pool that connects to nothing until it is opened; its connections are in autocommit mode.

    With a `search_path` they see the tables of those schemas only.
    """
    path = f" -c search_path={search_path.replace(' ', '')}" if search_path else ""
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=False,
        timeout=5.0,
        # After an outage the next caller starts a fresh attempt; a long-lived one would have backed off to minutes by then.
        reconnect_timeout=3.0,
        name=name,
        kwargs={
            "autocommit": True,
            "application_name": f"tallyhook {name}",
            "connect_timeout": 5,
            "prepare_threshold": 0,
            "options": f"-c timezone=UTC{path}",
        },
    )


def make_engine(url: str, *, name: str, size: int = 5) -> AsyncEngine:
    """A SQLAlchemy engine that connects to nothing until its first use."""
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=size,
        pool_pre_ping=True,
        hide_parameters=True,  # an error must not quote whom a statement is about
        pool_timeout=5.0,
        connect_args={"application_name": f"tallyhook {name}", "connect_timeout": 5},
    )


def sqlalchemy_url(url: str) -> str:
    """The same address as SQLAlchemy wants it: with its driver named."""
    return url.replace(_SCHEME, "postgresql+psycopg://", 1).replace("postgres://", "postgresql+psycopg://", 1)
