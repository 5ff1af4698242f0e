"""The rows that a query finds, each as a dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

if TYPE_CHECKING:
    from psycopg import AsyncConnection


async def rows(connection: AsyncConnection, query: str, *values: Any) -> list[dict[str, Any]]:
    return await (await connection.cursor(row_factory=dict_row).execute(query, values or None)).fetchall()
