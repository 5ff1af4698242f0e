"""
The retention of business records: leads with their attempts and events, the keys of leads, and notifications.

Only settled records are deleted, one batch per transaction, so that a year of them at the first run blocks nothing. The
deduplication keeps its row of a deleted lead: a copy that comes later is still a duplicate.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from psycopg import Connection
from pydantic import Field

from outbox.cutoffs import advance
from outbox.upkeep import Deletion
from runtime.ids import first_id_of
from runtime.settings import Settings

BATCH: Final = 1000


class RecordSettings(Settings):
    """The retention of records that outlive the daily tables."""

    lead_retention_days: int = Field(default=365, ge=1, le=7300)
    """Days for which a lead is kept, with its attempts and events, once it is delivered, exhausted or rejected for good."""
    notification_retention_days: int = Field(default=90, ge=1, le=7300)
    """Days for which a notification is kept once it is sent, failed or suppressed."""


class Forgotten(NamedTuple):
    """The number of deleted records of each kind."""

    leads: int
    lead_keys: int
    notifications: int


# An id has the time at which its lead came, which was before its last change: so the primary key finds the old leads. A lead
# that is held back (`suppressed`) waits for an operator's decision.
_LEADS: Final = """
with gone as (
  delete from leads where id in (
    select id from leads
    where id < %(first)s and next_attempt_at is null and suppressed is null and updated_at < %(before)s
    order by id limit %(batch)s for update skip locked)
  returning id),
attempts as (delete from lead_attempts a using gone where a.lead_id = gone.id),
discards as (delete from lead_discards d using gone where d.lead_id = gone.id),
story as (delete from history h using gone where h.aggregate_type = 'lead' and h.aggregate_id = gone.id::text)
select count(*) from gone
"""
_LEAD_KEYS: Final = """
with gone as (
  delete from lead_keys where (partner, key) in (
    select partner, key from lead_keys where created_at < %(before)s limit %(batch)s for update skip locked)
  returning 1)
select count(*) from gone
"""
_NOTIFICATIONS: Final = """
with gone as (
  delete from notifications where id in (
    select id from notifications where id < %(first)s and next_attempt_at is null and updated_at < %(before)s
    order by id limit %(batch)s for update skip locked)
  returning 1)
select count(*) from gone
"""


def forgetting(settings: RecordSettings) -> Deletion:
    """Return the function by which the upkeep of a relay deletes these records."""
    return lambda connection, due: forget_records(connection, settings, due.now, all_due=due.all_due)


def forget_records(connection: Connection, settings: RecordSettings, now: datetime, *, all_due: bool = False) -> Forgotten:
    """
    Delete the records beyond their retention, on a connection in autocommit mode.

    Only a day's worth is deleted, unless `all_due`: these records cannot come back.
    """
    leads_due = now - timedelta(days=settings.lead_retention_days)
    notifications_due = now - timedelta(days=settings.notification_retention_days)
    leads_before = advance(connection, "leads", leads_due, now, all_due=all_due)
    notifications_before = advance(connection, "notifications", notifications_due, now, all_due=all_due)
    return Forgotten(
        leads=_forget(connection, _LEADS, leads_before),
        lead_keys=_forget(connection, _LEAD_KEYS, leads_before),
        notifications=_forget(connection, _NOTIFICATIONS, notifications_before),
    )


def _forget(connection: Connection, statement: str, before: datetime) -> int:
    values = {"before": before, "first": first_id_of(before), "batch": BATCH}
    forgotten = 0
    while True:
        row = connection.execute(statement.encode(), values).fetchone()
        forgotten += (found := row[0] if row else 0)
        if found < BATCH:
            return forgotten
