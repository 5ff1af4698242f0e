"""Runs the chain up to its head on one database."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from runtime.database import sqlalchemy_url
from runtime.locks import Lock
from runtime.sessions import DEFAULT_LEASE, SET, client_options, columns_of, server_settings

_HERE: Final = Path(__file__).parent


def upgrade(database_url: str) -> tuple[str | None, str | None]:
    """Migrate to the newest revision, one process at a time; returns the revisions before and after."""
    engine = create_engine(
        sqlalchemy_url(database_url),
        hide_parameters=True,
        connect_args={"application_name": "tallyhook migrate", **client_options(DEFAULT_LEASE)},
    )
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    with _connected(engine) as connection:
        # Statements may take as long as they must; one of a migration that was stopped, or is gone, holds up no other for ever.
        names, values = columns_of(server_settings(DEFAULT_LEASE, holds=True, statement=None))
        connection.exec_driver_sql(SET, (names, values))
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": Lock.MIGRATE})
        connection.commit()
        before = current(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        after = current(connection)
    engine.dispose()
    return before, after


def _connected(engine: Engine) -> Connection:
    """Connect, or raise what psycopg has to say, without SQLAlchemy's wrapping."""
    try:
        return engine.connect()
    except DBAPIError as error:
        raise (error.orig or error) from None


def current(connection: Connection) -> str | None:
    """The revision that the database is at."""
    return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    """The revision that this code needs."""
    return ScriptDirectory(str(_HERE)).get_current_head()
