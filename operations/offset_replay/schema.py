"""
The schema of a shadow: copies of the live tables, isolated from them.

Its connections search only the schema and `pg_catalog`, so a statement on a table without a copy fails instead of using the live
table. The schema has its own `pg_notify`, which does nothing. The command holds a lock while it runs: if the lock of a schema is
free, its command was killed, and the next run drops the schema.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from psycopg import Connection, sql
from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from outbox.locks import Kind
from outbox.tables import metadata
from runtime.ids import new_id

_IN_USE: Final = "tallyhook shadow"
_KEPT: Final = "tallyhook shadow, kept"
# The tables that the processor and every handler write. Only those with a key that a statement needs get their indexes.
_SHARED_TABLES: Final = ("consumed", "dead_letters", "alert_windows", "tasks", "offset_replays")
_EVENT_TABLES: Final = ("outbox", "outbox_pending")

_SCHEMAS: Final = """
select n.nspname from pg_namespace n
where n.nspname like 'shadow\\_%%' and obj_description(n.oid, 'pg_namespace') = %s order by 1
"""


@contextmanager
def shadow_schema(connection: Connection, holder: Connection, tables: Sequence[str], *, keep: bool) -> Iterator[str]:
    """
    Yield the name of a new schema with empty copies of the tables; it is dropped at the end unless `keep` is set.

    The lock is held on the connection `holder`, since the other one may be idle for long.
    """
    name = f"shadow_{datetime.now(UTC):%Y%m%d_%H%M%S}_{new_id().hex[-4:]}"
    schema = sql.Identifier(name)
    holder.execute("select pg_advisory_lock(%s, hashtext(%s))", (Kind.SHADOW, name))
    try:
        with connection.transaction():
            connection.execute(sql.SQL("create schema {}").format(schema))
            _comment(connection, name, _IN_USE)
            for table in (*_SHARED_TABLES, *tables):
                _copy(connection, name, table, "including all")
            for table in _EVENT_TABLES:
                _copy(connection, name, table, "including defaults including generated")
            connection.execute(sql.SQL("create sequence {}.outbox_pending_id_seq").format(schema))
            connection.execute(
                sql.SQL("alter table {}.outbox_pending alter column id set default nextval({})").format(
                    schema, sql.Literal(f"{name}.outbox_pending_id_seq")
                )
            )
            connection.execute(
                sql.SQL("create function {}.pg_notify(text, text) returns void language sql as 'select'").format(schema)
            )
        yield name
        if keep:
            _comment(connection, name, _KEPT)
    finally:
        if not keep:
            drop(connection, name)
        holder.execute("select pg_advisory_unlock(%s, hashtext(%s))", (Kind.SHADOW, name))


def drop_abandoned(connection: Connection) -> list[str]:
    """Drop the schemas of commands that were killed, and return their names."""
    dropped = []
    for (name,) in connection.execute(_SCHEMAS, (_IN_USE,)).fetchall():
        row = connection.execute("select pg_try_advisory_lock(%s, hashtext(%s))", (Kind.SHADOW, name)).fetchone()
        if row is not None and row[0]:
            drop(connection, name)
            connection.execute("select pg_advisory_unlock(%s, hashtext(%s))", (Kind.SHADOW, name))
            dropped.append(name)
    return dropped


def drop(connection: Connection, name: str) -> None:
    with connection.transaction():
        connection.execute("set local client_min_messages = warning")
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))


def _copy(connection: Connection, name: str, table: str, parts: str) -> None:
    """Copy a table as unlogged, since losing it in a crash does no harm. A missing table is created from its declaration."""
    if not table_exists(connection, table):
        create(connection, metadata.tables[table], name)
        return
    statement = sql.SQL("create unlogged table {schema}.{table} (like public.{table} {parts})")
    connection.execute(statement.format(schema=sql.Identifier(name), table=sql.Identifier(table), parts=sql.SQL(parts)))


def _comment(connection: Connection, name: str, text: str) -> None:
    connection.execute(sql.SQL("comment on schema {} is {}").format(sql.Identifier(name), sql.Literal(text)))


_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # the library has no types for it


def table_exists(connection: Connection, table: str) -> bool:
    row = connection.execute("select to_regclass('public.' || quote_ident(%s)) is not null", (table,)).fetchone()
    return bool(row and row[0])


def create(connection: Connection, table: Table, schema: str | None = None) -> None:
    """Create the table with its constraints and indexes, in the schema or in its own; it has the rights of a new table."""
    if schema is not None:
        table = table.to_metadata(MetaData(naming_convention=metadata.naming_convention), schema=schema)
    statements: list[DDLElement] = [CreateTable(table)]
    statements += [CreateIndex(index) for index in sorted(table.indexes, key=lambda each: str(each.name))]
    for statement in statements:
        connection.execute(str(statement.compile(dialect=_DIALECT)).encode())
