"""Recent attempts at the CRMs of partners; only the newest of an indexed range are read, so the cost has a bound."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row

COUNTED_MAX: Final = 20_000
_READ: Final = """
select partner, count(*) as attempts, count(*) filter (where error is null) as delivered,
  percentile_cont(0.5) within group (order by took) as p50, percentile_cont(0.99) within group (order by took) as p99
from (
  select l.partner, a.error, extract(epoch from a.ended_at - a.started_at)::float8 as took
  from (select * from lead_attempts where started_at >= %s order by started_at desc limit %s) a join leads l on l.id = a.lead_id
  where a.ended_at is not null and l.partner = any(%s)) ended
group by partner
"""


class Health(NamedTuple):
    """The ended attempts of one partner; half of them took at most `p50` seconds, and 99 of 100 at most `p99`."""

    partner: str
    attempts: int
    delivered: int
    p50: float
    p99: float

    @property
    def share(self) -> float:
        """The share of attempts that its CRM has taken, from 0 to 1."""
        return self.delivered / self.attempts


async def read_health(connection: AsyncConnection, since: datetime, partners: Sequence[str]) -> dict[str, Health]:
    """Read the attempts of these partners since then, among the newest 20,000 of all; a partner without attempts has no entry."""
    async with connection.cursor(row_factory=class_row(Health)) as cursor:
        found = await (await cursor.execute(_READ, (since, COUNTED_MAX, list(partners)), prepare=False)).fetchall()
    return {each.partner: each for each in found}
