"""A separate migrated database for every test, cloned from a template that is made once a session."""

from __future__ import annotations

import gc
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from migrations import chain
from outbox import partitions

if TYPE_CHECKING:
    from collections.abc import Iterator

_STARTED: Final = datetime.now(UTC)
"""The day of the tests that count days: it is read at import, and the first database may be made after midnight."""
_RETENTION: Final = timedelta(days=2)


@pytest.fixture(scope="session")
def _administration(postgres_server: str) -> Iterator[psycopg.Connection]:
    """One connection for all databases: opening one takes 19 ms of CPU, and most tests have their own database."""
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def template_database(postgres_server: str, _administration: psycopg.Connection) -> Iterator[str]:
    """The name of a migrated database with its partitions made; no client is connected to it, so it can be cloned."""
    name = f"template_{uuid4().hex[:12]}"
    _run(_administration, "create database {}", name)
    url = f"{postgres_server}/{name}"
    chain.upgrade(url)
    with psycopg.connect(url, autocommit=True) as connection:
        partitions.maintain(connection, _STARTED, _RETENTION)
    yield name
    _run(_administration, "drop database {} with (force)", name)


@pytest.fixture
def database_url(postgres_server: str, template_database: str, _administration: psycopg.Connection) -> Iterator[str]:
    """The address of an empty, migrated database that only this test sees."""
    name = f"test_{uuid4().hex[:12]}"
    # Copying files takes a third of the time of writing the copy to the log as well.
    _run(_administration, "create database {} template {} strategy file_copy", name, template_database)
    yield f"{postgres_server}/{name}"
    _run(_administration, "drop database {} with (force)", name)


def _run(administration: psycopg.Connection, statement: str, *names: str) -> None:
    # Dropping a database waits up to a minute for a client that was cancelled while it connected, unless it is collected first.
    collecting = threading.Timer(0.5, gc.collect)
    collecting.start()
    administration.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))
    collecting.cancel()
