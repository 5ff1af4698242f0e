"""
Hints of changes: a table that processes follow notifies the channel of its own name, also when it is changed by SQL.

A hint has no content; a process that receives it reads the table. The triggers belong to the schema: creating the tables from
their declaration creates the triggers too.
"""

from typing import Any, Final

from sqlalchemy import Connection, Table, event, text

from outbox.tables import metadata

_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION notify_change() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_notify(TG_TABLE_NAME, ''); RETURN NULL; END $$
"""
_TRIGGER: Final = """
CREATE TRIGGER {table}_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION notify_change()
"""


def notify_changes(table: Table) -> None:
    """Make the table send hints."""

    @event.listens_for(table, "after_create")
    def create(_: object, connection: Connection, **__: Any) -> None:
        connection.execute(text(_TRIGGER.format(table=table.name)))


@event.listens_for(metadata, "before_create")
def _create(_: object, connection: Connection, **__: Any) -> None:
    connection.execute(text(_FUNCTION))
