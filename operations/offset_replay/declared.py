"""The declared tables, for one that has been dropped."""

from typing import Final

from psycopg import Connection
from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

from outbox.tables import metadata

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # the library leaves it untyped


def is_there(connection: Connection, table: str) -> bool:
    row = connection.execute("select to_regclass('public.' || quote_ident(%s)) is not null", (table,)).fetchone()
    return bool(row and row[0])


def create(connection: Connection, table: Table, schema: str | None = None) -> None:
    """Make the table with its constraints and indexes, in the schema or where it belongs; rights are those of a new table."""
    if schema is not None:
        table = table.to_metadata(MetaData(naming_convention=metadata.naming_convention), schema=schema)
    statements: list[DDLElement] = [CreateTable(table)]
    statements += [CreateIndex(index) for index in sorted(table.indexes, key=lambda each: str(each.name))]
    for statement in statements:
        connection.execute(str(statement.compile(dialect=_DIALECT)).encode())
