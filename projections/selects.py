"""Queries that are declared with SQLAlchemy, as their tables are, and executed by psycopg."""

from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from sqlalchemy import Dialect, Select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

_DIALECT: Final[Dialect] = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Read(NamedTuple):
    """A statement with its values; the caller adds those of its `bindparam`s."""

    statement: str
    values: dict[str, Any]

    async def first(self, connection: AsyncConnection, **values: Any) -> dict[str, Any] | None:
        """Return the first row, or None."""
        async with connection.cursor(row_factory=dict_row) as cursor:
            return await (await cursor.execute(self.statement, self.values | values)).fetchone()


def read_of(query: Select[Any]) -> Read:
    """Return the query as text, with its values."""
    compiled = query.compile(dialect=_DIALECT)
    return Read(str(compiled), dict(compiled.params))
