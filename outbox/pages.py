"""
Pages of lists whose rows may be large: bounded in rows and in bytes.

A page of a log whose rows are filtered looks at no more than `ROWS_READ_MAX` of them, so that its cost does not grow with the
log: where few rows match, a page is short or even empty, and the next page continues from there.

A query for a page returns one row more than the page holds, if there is one, and with each row the bytes of all rows up to it.
It ends with the first row that is too much, and always includes the second row.
"""

from collections.abc import Sequence
from typing import Final, TypeVar
from uuid import UUID

from psycopg import AsyncConnection, sql

Row = TypeVar("Row")

ROWS_READ_MAX: Final = 20_000

PAGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the columns that may be large, in one page; a row that is larger comes alone."""


def page_of(found: Sequence[tuple[Row, int]], limit: int) -> tuple[list[Row], bool]:
    """Return the rows of the page, and whether there are more."""
    fitting = sum(total <= PAGE_BYTES for _, total in found)
    kept = min(limit, max(1, fitting))
    return [row for row, _ in found[:kept]], len(found) > kept


async def lowest_id(connection: AsyncConnection, table: str, first: UUID, before: UUID) -> UUID | None:
    """Return the lowest id that a page may look at, of the ids `first` <= id < `before`; None if it may look at all of them."""
    query = sql.SQL("select id from {} where id >= %s and id < %s order by id desc offset %s limit 1")
    found = await connection.execute(query.format(sql.Identifier(table)), (first, before, ROWS_READ_MAX - 1), prepare=False)
    row = await found.fetchone()
    return row[0] if row else None
