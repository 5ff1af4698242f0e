"""The queries of the doctor on Postgres: its own state, and the work that waits in it. They only read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from outbox.locks import Kind

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

LIMIT: Final = timedelta(seconds=5)  # for one statement


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
_COLLATION: Final = """
select datcollversion, pg_database_collation_actual_version(oid) from pg_database where datname = current_database()
"""
_LOST: Final = "select consumer, string_agg(distinct topic, ', ') from lost_ranges where finished_at is null group by 1"
_OPEN_LETTERS: Final = "select consumer, count(*) from dead_letters where status = 'open' group by consumer order by consumer"


def vitals(connection: Connection) -> Vitals:
    return Vitals(*cast("tuple[Any, ...]", connection.execute(_VITALS).fetchone()))


def collation(connection: Connection) -> tuple[str | None, str | None]:
    """The version by which the database's texts were sorted, and that of this server; both are None for a fixed order (C)."""
    return cast("tuple[Any, Any]", connection.execute(_COLLATION).fetchone())


def open_letters(connection: Connection) -> dict[str, int]:
    """Count the open dead letters by consumer."""
    return dict(connection.execute(_OPEN_LETTERS).fetchall())


def lost(connection: Connection) -> dict[str, str]:
    """The topics in which Kafka has lost records that are not all handled yet, by consumer."""
    return dict(connection.execute(_LOST).fetchall())


def is_migrated(connection: Connection) -> bool:
    """True if the schema exists."""
    row = connection.execute("select to_regclass('alembic_version') is not null").fetchone()
    return bool(row and row[0])


def revision(connection: Connection) -> str | None:
    """The revision that the database is at."""
    row = connection.execute("select version_num from alembic_version").fetchone()
    return row[0] if row else None


SESSIONS: Final = f"""
select count(*) filter (where classid = {Kind.PRESENCE}), count(*) filter (where classid = {Kind.RELAY}),
       (select count(*) from outbox_pending where parked_at is null)
from pg_locks where locktype = 'advisory' and granted and objsubid = 2
  and database = (select oid from pg_database where datname = current_database())
"""
"""Sessions of live gateways and relays, and events that wait for Kafka."""
_NOTIFICATIONS: Final = """
select channel, count(*), min(uuid_extract_timestamp(id)),
       min(next_attempt_at) filter (where next_attempt_at <= now() and status = 'queued')
from notifications where next_attempt_at is not null group by channel order by channel
"""


async def late_notifications(connection: AsyncConnection) -> list[tuple[str, int, datetime | None, datetime | None]]:
    """Return for each channel the waiting notifications, when the oldest came, and since when the oldest has been due untried."""
    return cast("list[Any]", await (await connection.execute(_NOTIFICATIONS)).fetchall())


def runs(connection: Connection) -> bool:
    """True if a gateway or a relay runs, or events wait for one: then workers are expected too."""
    row = connection.execute(SESSIONS.encode()).fetchone()
    return bool(row and any(row))
