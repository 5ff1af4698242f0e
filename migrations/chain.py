"""Runs the chain up to its head on one database."""

import time
from pathlib import Path
from typing import Final

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import DeadlockDetected
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from outbox.locks import Lock
from runtime.excerpts import described
from runtime.schema import check_schema, newest
from runtime.sessions import DEFAULT_LEASE, SET, client_options, columns_of, server_settings

log = structlog.get_logger()

_HERE: Final = Path(__file__).parent
_AGAIN: Final = 0.2  # seconds
_TRIES: Final = 10


def upgrade(database_url: str) -> tuple[str | None, str | None]:
    """
    Migrate to the newest revision, one process at a time; returns the revisions before and after.

    What a later release has migrated stays as it is. One that meets running processes in a deadlock is tried again, ten times at
    most. Raises SchemaUnfit where this release cannot run on it, and SQLAlchemy's error where a lock is not to be had.
    """
    engine = engine_of(database_url)
    try:
        with _connected(engine) as connection:
            # Statements may take as long as they must; one of a migration that was stopped holds up no other for ever.
            names, values = columns_of(server_settings(DEFAULT_LEASE, holds=True, statement=None))
            connection.exec_driver_sql(SET, (names, values))
            _wait_for_turn(connection)
            return _upgrade(connection)
    finally:
        engine.dispose()


def _wait_for_turn(connection: Connection) -> None:
    """
    Take the lock of migrations.

    It is asked for again and again: whoever waits within a statement holds a snapshot, for whose end an index that is made
    concurrently by the holder of the lock waits in turn.
    """
    while not connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": Lock.MIGRATE}).scalar_one():
        connection.commit()
        time.sleep(_AGAIN)
    connection.commit()


def engine_of(database_url: str) -> Engine:
    """Return an engine whose address libpq reads: SQLAlchemy knows neither several hosts nor all of its parameters."""
    options = {"application_name": "tallyhook migrate", **client_options(DEFAULT_LEASE)}
    return create_engine("postgresql+psycopg://", hide_parameters=True, creator=lambda: psycopg.connect(database_url, **options))


def _upgrade(connection: Connection) -> tuple[str | None, str | None]:
    before = current(connection)
    connection.commit()
    if before and before > newest():
        _check(connection)  # a later release has migrated it, and may run beside this one
        return before, before
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["connection"] = connection
    for left in reversed(range(_TRIES)):
        try:
            command.upgrade(config, "head")
            connection.commit()
            break
        except DBAPIError as error:
            connection.rollback()
            # One that only waits for a lock makes running processes wait behind it: the operator chooses when it is tried again.
            if not isinstance(error.orig, DeadlockDetected) or not left:
                raise
            log.warning("migration_tried_again", reason="deadlock_detected", error=described(error.orig), tries_left=left)
            time.sleep(_AGAIN)
    return before, current(connection)


def _connected(engine: Engine) -> Connection:
    """Connect; raises the error of psycopg without SQLAlchemy's wrapping."""
    try:
        return engine.connect()
    except DBAPIError as error:
        raise (error.orig or error) from None


def current(connection: Connection) -> str | None:
    """The revision of the database."""
    return MigrationContext.configure(connection).get_current_revision()


def _check(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101  # narrows the type
    check_schema(driver)


def head() -> str | None:
    """The newest revision of this release."""
    return ScriptDirectory(str(_HERE)).get_current_head()
