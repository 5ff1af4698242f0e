"""A followed view gets each change by a notification of the table, without polling in between."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from psycopg import sql
from typing_extensions import override

from projections.config import CONFIG
from projections.endpoints import ENDPOINTS
from projections.partner_store import PARTNERS
from runtime import following as following_module
from runtime.following import Followed, following
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SEALED: Final = "insert into {table} values ('a', '{{}}', '', '', 1, now(), now(), 'test')"
CHANGES: Final = {
    CONFIG: ("insert into config values ('a', '1', 1)", "update config set value = '2'"),
    PARTNERS.table: (_SEALED.format(table="partners"), "update partners set version = 2"),
    ENDPOINTS.table: (_SEALED.format(table="endpoints"), "update endpoints set version = 2"),
}


class Counted(Followed):
    """A view of a table that counts its reads."""

    def __init__(self, table: str) -> None:
        super().__init__()
        self.table = sql.Identifier(table)
        self.rows: list[tuple[object, ...]] = []
        self.reads = 0

    @override
    async def refresh(self, connection: psycopg.AsyncConnection) -> None:
        self.rows = await (await connection.execute(sql.SQL("select * from {}").format(self.table))).fetchall()
        self.reads += 1


@pytest.fixture(autouse=True)
def without_a_hint_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following_module, "_RARELY", 3600.0)


@asynccontextmanager
async def view_of(database_url: str, table: str) -> AsyncIterator[Counted]:
    view = Counted(table)
    async with following(database_url, table, view):
        yield view


def _has(view: Counted, rows: int) -> bool:
    return len(view.rows) == rows


def listener(connection: psycopg.Connection, table: str) -> int | None:
    row = connection.execute(
        "select pid from pg_stat_activity where application_name = %s and datname = current_database()", (f"tallyhook {table}",)
    ).fetchone()
    return row[0] if row else None


@pytest.mark.parametrize("table", CHANGES)
async def test_each_change_by_sql_is_heard_of(database_url: str, table: str) -> None:
    insert, update = CHANGES[table]
    with psycopg.connect(database_url, autocommit=True) as connection:
        async with view_of(database_url, table) as view:
            connection.execute(insert)
            await until(lambda: len(view.rows) == 1)
            [before] = view.rows
            connection.execute(update)
            await until(lambda: view.rows != [before])
            connection.execute(f"delete from {table}")
            await until(lambda: view.rows == [])
            connection.execute(insert)
            await until(lambda: len(view.rows) == 1)
            connection.execute(f"truncate {table}")
            await until(lambda: view.rows == [])


async def test_a_change_while_the_connection_is_lost_is_found(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        async with view_of(database_url, CONFIG) as view:
            for number in range(1, 4):
                await until(lambda: listener(connection, CONFIG) is not None)
                with connection.transaction():  # the notification is sent after the listening connection has been killed
                    connection.execute("insert into config values (%s, '1', 1)", (f"k{number}",))
                    connection.execute("select pg_terminate_backend(%s)", (listener(connection, CONFIG),))
                await until(partial(_has, view, number))


async def test_callbacks_are_called_after_each_read(database_url: str) -> None:
    reads: list[int] = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        async with view_of(database_url, CONFIG) as view:
            view.on_read(lambda: reads.append(len(view.rows)))
            connection.execute("insert into config values ('a', '1', 1)")
            await until(lambda: reads[-1:] == [1])


async def test_another_thread_can_have_the_table_read(database_url: str) -> None:
    async with view_of(database_url, CONFIG) as view:
        before = view.reads
        await asyncio.to_thread(view.read_again)
        await until(lambda: view.reads > before)
