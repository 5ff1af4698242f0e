"""Days of the daily tables that are out of use for now (`outbox/partitions.py`)."""

from sqlalchemy import Connection, text


def with_detached(connection: Connection, table: str) -> list[str]:
    """
    A daily table, and its detached days.

    Those are tables of their own, and come back as partitions only if they have the columns and constraints of the others. So
    whatever changes the table changes them too.
    """
    query = text("SELECT 'detached_' || partition FROM detached_partitions WHERE partition LIKE :days ORDER BY partition")
    days = connection.execute(query, {"days": table.replace("_", r"\_") + r"\_________"}).scalars()
    return [table, *days]
