"""
Up to where upkeep has deleted, by kind of record: a cut-off moves by one day an hour at most, unless an operator says otherwise.

So neither a clock that jumped nor a setting with a slip in it erases more than a day before somebody can look. A relay that was
off for days, or a shorter retention, catches up a day an hour.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from psycopg import Connection

STEP: Final = timedelta(days=1)
"""By how much a cut-off moves at once."""
PACE: Final = timedelta(minutes=50)
"""How long it then stays, over all relays together: a little less than the hour between two runs."""


class Cutoff(NamedTuple):
    """What is before `at` is deleted, since `moved_at`."""

    at: datetime
    moved_at: datetime


def decide(wanted: datetime, last: Cutoff | None, now: datetime, *, all_due: bool = False) -> datetime:
    """Where the cut-off goes: to `wanted`, or less far where that is more than a step away; back at once."""
    if last is None or all_due or wanted <= last.at:
        return wanted
    if last.moved_at <= now < last.moved_at + PACE:
        return last.at
    return min(wanted, last.at + STEP)


_READ: Final = "select cutoff, moved_at from retention_cutoffs where kind = %s"
_MOVE: Final = """
insert into retention_cutoffs as c (kind, cutoff, moved_at) values (%(kind)s, %(cutoff)s, %(now)s)
on conflict (kind) do update set cutoff = excluded.cutoff, moved_at = excluded.moved_at where c.cutoff <> excluded.cutoff
"""


def advance(
    connection: Connection,
    kind: str,
    wanted: datetime,
    now: datetime,
    *,
    first: datetime | None = None,
    all_due: bool = False,
) -> datetime:
    """
    Move the cut-off of a kind towards `wanted` and write it down; returns it.

    `first` is where it is taken to have been when it was never written down. Two at once move it once.
    """
    row = connection.execute(_READ, (kind,)).fetchone()
    never = Cutoff(first, datetime.min.replace(tzinfo=UTC)) if first else None
    cutoff = decide(wanted, Cutoff(*row) if row else never, now, all_due=all_due)
    connection.execute(_MOVE, {"kind": kind, "cutoff": cutoff, "now": now})
    return cutoff
