"""
The upkeep of days as functions of the tables' owner, so that the role of the processes needs no table of its own.

They belong to the schema: whoever makes the tables from their declaration makes them too.
"""

from typing import Any, Final

from sqlalchemy import Connection, event, text

from outbox.tables import metadata

# Each runs with the rights of the owner, and so does no more than its name says, with the daily tables alone.
_DAY: Final = "parent || '_' || to_char(day, 'YYYYMMDD')"
_CHECK: Final = """
  IF NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass(format('public.%I', parent))) THEN
    RAISE EXCEPTION '% is no daily table', parent;
  END IF;"""
_FUNCTIONS: Final = {
    # A provider's body is often a little over the 2 KB at which Postgres starts to compress and move values out: a tenth of the
    # work of intake and relay, for little.
    "day_create(parent text, day date, lower uuid, upper uuid)": """
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)%s', partition, parent,
    CASE parent WHEN 'outbox' THEN ' WITH (toast_tuple_target = 8160)' ELSE '' END);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, partition, lower, upper);""",
    "day_restore(parent text, day date, lower uuid, upper uuid)": """
  EXECUTE format('ALTER TABLE %I RENAME TO %I', 'detached_' || partition, partition);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, partition, lower, upper);""",
    "day_detach(parent text, day date)": """
  EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, partition);
  EXECUTE format('ALTER TABLE %I RENAME TO %I', partition, 'detached_' || partition);""",
    "day_drop(parent text, day date)": """
  EXECUTE format('DROP TABLE IF EXISTS %I', 'detached_' || partition);""",
}


@event.listens_for(metadata, "after_create")
def _create(_: object, connection: Connection, **__: Any) -> None:
    for signature, body in _FUNCTIONS.items():
        connection.execute(
            text(f"""
            CREATE FUNCTION {signature} RETURNS void
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
            DECLARE partition text := {_DAY};
            BEGIN{_CHECK}{body}
            END $$
        """)
        )
        connection.execute(text(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC"))
