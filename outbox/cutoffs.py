"""
The cut-offs of upkeep, one per kind of record: each moves by at most one day an hour, unless an operator decides otherwise.

So neither a clock that jumped nor a mistyped setting erases more than a day before an operator can react. A relay that was
off for days, or a shorter retention, catches up a day an hour.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from psycopg import Connection

STEP: Final = timedelta(days=1)
"""The longest step of a cut-off."""
PACE: Final = timedelta(minutes=50)
"""The pause after a step, over all relays together: a little less than the hour between two runs."""


class Cutoff(NamedTuple):
    """Records before `at` are deleted; `moved_at` is the time at which the cut-off was set."""

    at: datetime
    moved_at: datetime


def decide(wanted: datetime, last: Cutoff | None, now: datetime, *, all_due: bool = False) -> datetime:
    """Return the next cut-off: `wanted`, or one step towards it where it is further away. A cut-off moves back at once."""
    if last is None or all_due or wanted <= last.at:
        return wanted
    if abs(now - last.moved_at) < PACE:  # another relay may have moved it a moment after this one has read the time
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
    Move the cut-off of a kind towards `wanted`, store it and return it.

    `first` is the cut-off to start from if none is stored. Two concurrent calls move it once.
    """
    row = connection.execute(_READ, (kind,)).fetchone()
    never = Cutoff(first, datetime.min.replace(tzinfo=UTC)) if first else None
    cutoff = decide(wanted, Cutoff(*row) if row else never, now, all_due=all_due)
    connection.execute(_MOVE, {"kind": kind, "cutoff": cutoff, "now": now})
    return cutoff
