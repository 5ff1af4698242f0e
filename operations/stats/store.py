"""
Counts in buckets of time, each from the rows of an indexed range.

Rows of daily tables are selected by a range of ids, so that no other day is read. A query that takes too long is cancelled.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from operations.ledger.states import TIME_OF
from operations.stats.query import Of, Period
from runtime.ids import first_id_of

SERIES_MAX: Final = 50
OTHERS: Final = "(others)"
_LIMIT: Final = "set local statement_timeout = '10s'"

_DELIVERIES: Final = f"""
select {{name}} as name, {TIME_OF.format(id="id")} as at, outcome, outcome = 'rejected' as failed, null::float8 as took
from webhook_deliveries where id >= %(first)s and id < %(before)s
"""
ROWS: Final[Mapping[Of, str]] = {
    "deliveries": _DELIVERIES.format(name="source"),
    # Rejected deliveries are left out: anyone can write anything as their type.
    "types": _DELIVERIES.format(name="concat_ws(' ', source, type)") + " and outcome <> 'rejected'",
    # An event that became a dead letter has a mark too, so it counts as handled; the dead letter counts as the failure.
    "effects": f"""
        select consumer as name, {TIME_OF.format(id="event_id")} as at, 'handled' as outcome, false as failed,
          extract(epoch from c.at - {TIME_OF.format(id="event_id")})::float8 * 1000 as took
        from consumed c where event_id >= %(first)s and event_id < %(before)s
        union all
        select consumer, created_at, 'deadLettered', true, null from dead_letters
        where created_at >= %(begin)s and created_at < %(end)s
    """,
    "attempts": """
        select l.partner as name, a.started_at as at,
          case when a.ended_at is null then 'running' when a.error is null then 'delivered' else a.error end as outcome,
          a.error is not null as failed, extract(epoch from a.ended_at - a.started_at)::float8 * 1000 as took
        from lead_attempts a join leads l on l.id = a.lead_id where a.started_at >= %(begin)s and a.started_at < %(end)s
    """,
    "notifications": f"""
        select channel as name, {TIME_OF.format(id="id")} as at, status as outcome, status = 'failed' as failed,
          null::float8 as took
        from notifications where id >= %(first)s and id < %(before)s
    """,
}
_COUNTED: Final = """
with counted as (
  select name, date_bin(%(width)s, at, %(begin)s) as at, outcome, failed, took from ({rows}) r
  where %(name)s::text is null or name = %(name)s),
by_outcome as (
  select name, at, jsonb_object_agg(outcome, number) as outcomes
  from (select name, at, outcome, count(*) as number from counted group by 1, 2, 3) o group by 1, 2)
select name, at, count(*) as number, count(*) filter (where failed) as failures, (array_agg(outcomes))[1] as outcomes,
  percentile_cont(0.5) within group (order by took) as p50, percentile_cont(0.99) within group (order by took) as p99
from counted join by_outcome using (name, at) group by name, at order by name, at
"""


class Point(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The figures of one bucket."""

    at: datetime  #: The beginning of the bucket.
    number: int  #: Number of rows.
    failures: int  #: Number of those that failed: rejected, recorded as a dead letter, or without success.
    outcomes: dict[str, int]  #: Number of rows by outcome.
    p50_ms: float | None = None  #: The median duration in milliseconds; absent if durations are not measured.
    p99_ms: float | None = None  #: The 99th percentile of the duration in milliseconds; absent if durations are not measured.


class Series(msgspec.Struct, frozen=True):
    """The buckets of one source, type, worker, partner or channel."""

    name: str  #: Its name; `(others)` for the series after the 50 largest.
    points: list[Point]  #: The buckets that have any row, oldest first.


async def count(connection: AsyncConnection, of: Of, period: Period, name: str | None = None) -> list[Series]:
    """Count the requested figures, or only the series of that name; the largest series come first."""
    async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_LIMIT)
        await cursor.execute(statement(of), values_of(period, name), prepare=False)
        rows = await cursor.fetchall()
    points: dict[str, list[Point]] = defaultdict(list)
    for row in rows:
        points[row["name"]].append(_point(row))
    largest = sorted(points.items(), key=lambda item: (-sum(point.number for point in item[1]), item[0]))
    kept = [Series(name, found) for name, found in largest[:SERIES_MAX]]
    rest = [point for _, found in largest[SERIES_MAX:] for point in found]
    return [*kept, Series(OTHERS, _merged(rest))] if rest else kept


def statement(of: Of) -> str:
    """Return the query of the figures."""
    return _COUNTED.replace("{rows}", ROWS[of])


def values_of(period: Period, name: str | None = None) -> dict[str, Any]:
    """Return the parameters of the query."""
    ids = {"first": first_id_of(period.begin), "before": first_id_of(period.end)}
    return {**ids, "name": name, "begin": period.begin, "end": period.end, "width": period.width}


def _point(row: dict[str, Any]) -> Point:
    return Point(
        at=row["at"],
        number=row["number"],
        failures=row["failures"],
        outcomes=row["outcomes"],
        p50_ms=_rounded(row["p50"]),
        p99_ms=_rounded(row["p99"]),
    )


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)


def _merged(points: list[Point]) -> list[Point]:
    """Return the sums by bucket; percentiles cannot be added, so they are left out."""
    buckets: dict[datetime, list[Point]] = defaultdict(list)
    for point in points:
        buckets[point.at].append(point)
    return [_sum(at, buckets[at]) for at in sorted(buckets)]


def _sum(at: datetime, points: list[Point]) -> Point:
    outcomes: dict[str, int] = defaultdict(int)
    for point in points:
        for outcome, number in point.outcomes.items():
            outcomes[outcome] += number
    number, failures = sum(point.number for point in points), sum(point.failures for point in points)
    return Point(at=at, number=number, failures=failures, outcomes=dict(outcomes))
