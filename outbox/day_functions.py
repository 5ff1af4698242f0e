"""
The upkeep of days as SQL functions that run as the tables' owner, so that the role of the processes need not own any table.

They belong to the schema: creating the tables from their declaration creates the functions too.
"""

from typing import Any, Final

from sqlalchemy import Connection, event, text

from outbox.tables import metadata

# Each runs with the owner's rights, so it does only what its name says, and only to the daily tables.
_DAY: Final = "parent || '_' || to_char(day, 'YYYYMMDD')"
_CHECK: Final = """
  IF NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass(format('public.%I', parent))) THEN
    RAISE EXCEPTION '% is no daily table', parent;
  END IF;"""
_FUNCTIONS: Final = {
    # Postgres compresses and moves out values of rows above 2 KB. A provider's body is often a little larger: that would be a
    # tenth of the work of intake and relay, for little gain.
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
