"""
The ledger: the account of everything that came in, with its present state.

Received deliveries are counted in the delivery log; their present states come from the outbox, its pending rows, the marks and
the dead letters, all read at one moment. The ledger is `balanced` if both sides agree and every stored delivery has its event.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from operations.errors import OperationError, Reason
from operations.ledger.states import OF_SPAN, SETTLED_BY, TIME_OF, plan_for_spans, span_values

_UNEXPLAINED_MAX: Final = 100


class _Figures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The present states of the deliveries of one source or endpoint."""

    source: str  #: A provider, such as `stripe`, or `partner`.
    received: int  #: Deliveries in the log: the sum of the six following figures.
    rejected: int  #: Refused.
    duplicates: int  #: Copies of an earlier event.
    ignored: int  #: Stored, but not sent to any worker.
    processed: int  #: Handled by every worker that has to.
    in_flight: int  #: Accepted, and not handled yet.
    dead_lettered: int  #: Recorded as a dead letter that is open or discarded, or parked.
    recovered: int  #: Rejected deliveries that a replay accepted later; part of `rejected`.
    waiting_for_kafka: int  #: Not acknowledged by Kafka yet; part of `inFlight`.
    parked: int  #: Refused by Kafka for good; part of `deadLettered`.
    discarded: int  #: Discarded by an operator; part of `deadLettered`.
    missing: int  #: Deliveries without their event: 0 unless something was lost.
    unlogged: int  #: Events without their delivery: 0 unless something was lost.
    oldest_in_flight: datetime | None  #: When the oldest delivery in flight arrived; null if none is.

    @property
    def balanced(self) -> bool:
        parts = self.rejected + self.duplicates + self.ignored + self.processed + self.in_flight + self.dead_lettered
        return self.received == parts and not self.missing and not self.unlogged


class SourceLedger(_Figures, frozen=True, kw_only=True, rename="camel"):
    """The figures of one source, over its plain path and all of its endpoints."""


class EndpointLedger(_Figures, frozen=True, kw_only=True, rename="camel"):
    """The figures of one endpoint, which are part of those of its source."""

    endpoint: str  #: The id of the endpoint.


class NotKept(msgspec.Struct, frozen=True, rename="camel"):
    """Refused deliveries that were only counted, by the hour; no other figure contains them."""

    source: str  #: A provider, such as `stripe`, or `partner`.
    rejected: int  #: Number of deliveries.
    from_hour: datetime  #: The beginning of the first hour.
    to_hour: datetime  #: The end of the last hour.


class Unexplained(msgspec.Struct, frozen=True):
    """A row without its counterpart."""

    source: str  #: A provider, such as `stripe`, or `partner`.
    id: UUID  #: The id of the delivery or the event.
    what: str  #: `missing`: a delivery without its event. `unlogged`: an event without its delivery.


class Commands(msgspec.Struct, frozen=True):
    """The commands of one kind."""

    kind: str  #: The event type of the command.
    pending: int  #: Number of commands without a result.
    done: int  #: Number of commands that succeeded.
    failed: int  #: Number of commands that failed.


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The account of a period."""

    from_: datetime = msgspec.field(name="from")  #: The beginning of the period, included.
    to: datetime  #: The end of the period, excluded.
    clipped: bool  #: True if a part of the period is older than the retention.
    balanced: bool  #: True if every delivery is accounted for.
    sources: list[SourceLedger]  #: The figures by source.
    endpoints: list[EndpointLedger]
    """The figures of the endpoints that received anything; the rest of a source's figures is its plain path."""
    not_kept: list[NotKept] = msgspec.field(name="rejectedNotKept")
    """Refused deliveries that were only counted, since too many arrived."""
    unexplained: list[Unexplained]  #: Rows without their counterpart.
    commands: list[Commands]  #: The commands of the period, by kind.


_FIGURES: Final = f"""
select source, endpoint, count(*) filter (where logged) as received,
  count(*) filter (where state = 'rejected') as rejected, count(*) filter (where state = 'duplicate') as duplicates,
  count(*) filter (where state = 'ignored') as ignored, count(*) filter (where state = 'processed') as processed,
  count(*) filter (where state = 'inFlight') as in_flight, count(*) filter (where state = 'deadLettered') as dead_lettered,
  count(*) filter (where state = 'rejected' and recovered) as recovered,
  count(*) filter (where state = 'inFlight' and waiting) as waiting_for_kafka,
  count(*) filter (where state = 'deadLettered' and parked) as parked,
  count(*) filter (where state = 'deadLettered' and discarded) as discarded,
  count(*) filter (where state = 'missing') as missing, count(*) filter (where not logged) as unlogged,
  {TIME_OF.format(id="min(case when state = 'inFlight' then id::text end)")} as oldest_in_flight
from {OF_SPAN} group by grouping sets ((source), (source, endpoint)) having grouping(endpoint) = 1 or endpoint is not null
order by source, endpoint
"""
_UNEXPLAINED: Final = f"""
select source, id, case when logged then 'missing' else 'unlogged' end as what
from {OF_SPAN} where state = 'missing' or not logged order by id limit %(limit)s
"""
_NOT_KEPT: Final = """
select source, sum(refused)::int8 as rejected, min(hour) as from_hour, max(hour) + interval '1 hour' as to_hour
from rejected_quota
where hour > %(from)s::timestamptz - interval '1 hour' and hour < %(to)s and refused > 0 group by source order by source
"""
_COMMANDS: Final = """
select kind, count(*) filter (where status = 'pending') as pending, count(*) filter (where status = 'done') as done,
       count(*) filter (where status = 'failed') as failed
from tasks where id >= %(first)s and id < %(before)s group by kind order by kind
"""
# The first day for which every table still has its partition: tables drop a day's partition at different times. A day with a
# pending event stays behind the cut-off, while later ones are gone.
_KEPT_FROM: Final = """
select greatest(max(first),
  (select to_char(cutoff at time zone 'UTC', 'YYYYMMDD') from retention_cutoffs where kind = 'days')) from (
  select min(right(c.relname, 8)) as first from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = any(array['outbox'::regclass, 'webhook_deliveries'::regclass, 'consumed'::regclass]) group by i.inhparent) t
"""


async def read(connection: AsyncConnection, begin: datetime, end: datetime) -> Ledger:
    """
    Read the ledger of the deliveries from `begin`, included, to `end`, excluded, in one snapshot.

    The caller's transaction must not have read anything yet. Raises OperationError.
    """
    if begin >= end:
        raise OperationError(Reason.PERIOD_MALFORMED, "the period ends before it begins")
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        # Enough memory for the hash tables of a day; on disk, the query would take 50 % longer.
        await connection.execute("set local work_mem = '64MB'")
        await connection.execute("set local enable_partitionwise_join = on")
        await plan_for_spans(connection)
        kept = await kept_from(connection)
        if end <= kept:
            raise OperationError(Reason.PERIOD_NOT_KEPT, f"nothing from before {kept:%Y-%m-%d} is kept any more")
        covered = max(begin, kept)
        sources, endpoints = await _figures(connection, covered, end)
        balanced = all(source.balanced for source in sources)
        period = {"from": covered, "to": end}
        return Ledger(
            from_=covered,
            to=end,
            clipped=covered > begin,
            balanced=balanced,
            sources=sources,
            endpoints=endpoints,
            not_kept=await _all(connection, NotKept, _NOT_KEPT, period),
            unexplained=[] if balanced else await _unexplained(connection, covered, end),
            commands=await _all(connection, Commands, _COMMANDS, span_values(covered, end)),
        )


async def kept_from(connection: AsyncConnection) -> datetime:
    """Return the beginning of the first day that all tables still hold."""
    row = await (await connection.execute(_KEPT_FROM)).fetchone()
    if row is None or row[0] is None:
        raise OperationError(Reason.PERIOD_NOT_KEPT, "there are no daily partitions: `tallyhook migrate` creates them")
    day = date.fromisoformat(row[0])
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def _figures(
    connection: AsyncConnection, begin: datetime, end: datetime
) -> tuple[list[SourceLedger], list[EndpointLedger]]:
    """Read the figures of every source, and of the endpoints that received anything."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        rows = await (await cursor.execute(_FIGURES.encode(), span_values(begin, end))).fetchall()
    endpoints = [EndpointLedger(**row) for row in rows if row["endpoint"]]
    found = {row["source"]: row for row in rows if row["endpoint"] is None}
    return [_source(source, found.get(source)) for source in sorted({*SETTLED_BY, *found})], endpoints


async def _unexplained(connection: AsyncConnection, begin: datetime, end: datetime) -> list[Unexplained]:
    return await _all(connection, Unexplained, _UNEXPLAINED, span_values(begin, end) | {"limit": _UNEXPLAINED_MAX})


async def _all(connection: AsyncConnection, kind: type[Any], query: str, values: dict[str, Any]) -> list[Any]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(query, values)).fetchall()


def _source(source: str, row: Mapping[str, Any] | None) -> SourceLedger:
    """The figures of a source, whose row is absent if nothing came from it."""
    nothing: dict[str, Any] = dict.fromkeys(SourceLedger.__struct_fields__, 0) | {"source": source, "oldest_in_flight": None}
    return SourceLedger(**{name: row[name] if row else nothing[name] for name in nothing})
