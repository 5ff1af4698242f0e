"""Erased subjects stay erased: Kafka may still hold contents that were removed from the log."""

from typing import Final

from psycopg import Connection, sql

from operations.erasure.states import without_contact
from outbox.erased import is_marker

# The contact of a state carries the event that told it: [[at, rank, event], address].
_NAMED: Final = """
with erased as (
  select w.event_id from {shadow}.wanted w join public.outbox o on o.id = w.event_id where w.done and {marker})
select s.provider, s.id, s.state from {shadow}.{table} s
where exists (select from {shadow}.history h join erased e on e.event_id = h.event_id
              where h.aggregate_type = {kind} and h.aggregate_id = s.id
                and h.provider_event_id = convert_from(s.state, 'UTF8')::jsonb #>> '{{contact,0,2}}')
"""
_WRITE: Final = "update {shadow}.{table} set state = %s where provider = %s and id = %s"


def take_contacts_out(connection: Connection, schema: str) -> None:
    """Remove each contact that an erased event stated from the payments and invoices of the schema, as the erasure did."""
    marker = sql.SQL(is_marker("o.data"))
    for table, kind in (("payments", "payment"), ("invoices", "invoice")):
        words = {"shadow": sql.Identifier(schema), "table": sql.Identifier(table), "kind": sql.Literal(kind), "marker": marker}
        for provider, name, state in connection.execute(sql.SQL(_NAMED).format(**words)).fetchall():
            connection.execute(sql.SQL(_WRITE).format(**words), (without_contact(state), provider, name))
