"""What Postgres says about itself and about what waits in it. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection


class Vitals(NamedTuple):
    """The server as a whole; the settings are those that decide whether a commit survives a crash."""

    version: int
    version_text: str
    replica: bool
    now: datetime
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    data_directory: str | None
    connections: int
    connections_max: int
    oldest_transaction_seconds: float


_VITALS: Final = """
select current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(), clock_timestamp(),
       current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
       case when pg_has_role(current_user, 'pg_read_all_settings', 'member') then current_setting('data_directory', true) end,
       (select count(*) from pg_stat_activity where backend_type = 'client backend'), current_setting('max_connections')::int,
       coalesce((select extract(epoch from max(now() - xact_start)) from pg_stat_activity
                 where backend_type = 'client backend' and pid <> pg_backend_pid()), 0)::float8
"""
_LOST: Final = "select consumer, string_agg(distinct topic, ', ') from lost_ranges where finished_at is null group by 1"
_OPEN_LETTERS: Final = "select consumer, count(*) from dead_letters where status = 'open' group by consumer order by consumer"


def vitals(connection: Connection) -> Vitals:
    return Vitals(*cast("tuple[Any, ...]", connection.execute(_VITALS).fetchone()))


def open_letters(connection: Connection) -> dict[str, int]:
    """Records that were set aside and that nobody has settled, by consumer."""
    return dict(connection.execute(_OPEN_LETTERS).fetchall())


def lost(connection: Connection) -> dict[str, str]:
    """The topics of which Kafka has lost records that are not all handled yet, by consumer."""
    return dict(connection.execute(_LOST).fetchall())


def is_migrated(connection: Connection) -> bool:
    """Whether the schema is there at all."""
    row = connection.execute("select to_regclass('alembic_version') is not null").fetchone()
    return bool(row and row[0])


def revision(connection: Connection) -> str | None:
    """The revision that the database is at."""
    row = connection.execute("select version_num from alembic_version").fetchone()
    return row[0] if row else None
