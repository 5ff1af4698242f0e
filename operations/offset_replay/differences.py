"""
Compare the shadow with the live tables in SQL, in one snapshot.

An aggregate is compared if both sides have the same events of it: its row is a pure fold of them, so every column must be equal.
If the live side has events outside the range (older than the log, or newer), the aggregate cannot be judged. If the live worker
has not handled an event of the shadow yet, the comparison has to be repeated.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from psycopg import Connection, sql
from psycopg.rows import dict_row

SAMPLES: Final = 20

# `state` is the record of the fold as JSON: it is shown as text and compared as bytes.
_AGGREGATES: Final = {
    "payments": "payment",
    "refunds": "refund",
    "disputes": "dispute",
    "subscriptions": "subscription",
    "invoices": "invoice",
}


class Difference(NamedTuple):
    """
    One row that differs from the log.

    `missing`: the live row does not exist. `extra`: no event of the log makes the live row. `different`: some columns differ;
    each is given with its live value and the value that the log makes.
    """

    table: str
    kind: str
    key: str
    columns: Mapping[str, tuple[Any, Any]]


class Comparison(NamedTuple):
    """
    The comparison of the tables; `differing` counts rows by table and kind, `samples` are some of these rows.

    `compared` aggregates have the same events on both sides. Of the others, `outside` have live events outside the range, and
    `behind` have events that the live worker had not handled yet.
    """

    compared: int
    outside: int
    behind: int
    differing: Mapping[tuple[str, str], int]
    samples: Sequence[Difference]

    @property
    def equal(self) -> bool:
        return not self.differing


def compare(connection: Connection, schema: str, consumer: str, provider: str) -> Comparison:
    """Compare in one snapshot; the shadow must not change any more."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        values = {"consumer": consumer, "provider": provider}
        for statement in (_TOUCHED, _FOUND):
            connection.execute(_in(schema, statement), values)
        for table, aggregate in _AGGREGATES.items():
            connection.execute(_in(schema, _ROWS, table=table), {**values, "table": table, "aggregate": aggregate})
        for statement in (_LINES, _PAIRS):
            connection.execute(_in(schema, statement), values)
        states: dict[str, int] = dict(connection.execute("select state, count(*) from pg_temp.touched group by state").fetchall())
        kinds = connection.execute('select "table", kind, count(*) from pg_temp.found group by 1, 2 order by 1, 2').fetchall()
        samples = _samples(connection)
        connection.execute("drop table pg_temp.touched, pg_temp.found")
    differing = {(table, kind): number for table, kind, number in kinds}
    return Comparison(
        states.get("same", 0) + states.get("lost", 0), states.get("outside", 0), states.get("behind", 0), differing, samples
    )


def emitted(connection: Connection, schema: str) -> dict[str, int]:
    """Return the numbers of events that the shadow would have emitted, by type."""
    query = sql.SQL("select type, count(*) from {}.outbox group by type order by type").format(sql.Identifier(schema))
    return dict(connection.execute(query).fetchall())


def dead_letters(connection: Connection, schema: str) -> dict[str, int]:
    """Return the numbers of dead letters of the shadow, by reason."""
    query = sql.SQL("select reason, count(*) from {}.dead_letters group by reason order by reason")
    return dict(connection.execute(query.format(sql.Identifier(schema))).fetchall())


def _in(schema: str, statement: str, **names: str) -> sql.Composed:
    return sql.SQL(statement).format(
        shadow=sql.Identifier(schema), **{name: sql.Identifier(value) for name, value in names.items()}
    )


def _samples(connection: Connection) -> list[Difference]:
    cursor = connection.cursor(row_factory=dict_row)
    cursor.execute(_SAMPLES, (SAMPLES,))
    return [
        Difference(
            row["table"], row["kind"], row["key"], _columns(row["live"], row["shadow"]) if row["kind"] == "different" else {}
        )
        for row in cursor.fetchall()
    ]


def _columns(live: Mapping[str, Any], shadow: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (live.get(name), value) for name, value in shadow.items() if live.get(name) != value}


# Every aggregate with an event of the range, on either side, and whether both sides have the same events of it.
#   lost: an event that the live worker has marked, or that the shadow has handled, is in the history of only one side.
_TOUCHED: Final = """
create temporary table touched as
with range as (select event_id from {shadow}.consumed where consumer = %(consumer)s),
named as (
  select aggregate_type, aggregate_id from {shadow}.history
  union select aggregate_type, aggregate_id from public.history join range using (event_id)),
lines as (
  select aggregate_type, aggregate_id, event_id, s.event_id is not null as in_shadow, l.event_id is not null as in_live
  from (select s.* from {shadow}.history s) s
  full join (select l.* from public.history l join named using (aggregate_type, aggregate_id)) l
    using (aggregate_type, aggregate_id, event_id)),
judged as (
  select l.aggregate_type, l.aggregate_id,
    bool_or(not in_shadow and r.event_id is null) as outside,
    bool_or(not in_live and m.event_id is null) as behind,
    bool_or(in_shadow <> in_live) as lost
  from lines l
    left join range r on r.event_id = l.event_id and not in_shadow
    left join public.consumed m on m.event_id = l.event_id and m.consumer = %(consumer)s and not in_live
  group by 1, 2)
select aggregate_type, aggregate_id,
  case when behind then 'behind' when outside then 'outside' when lost then 'lost' else 'same' end as state
from judged
"""
_FOUND: Final = """
create temporary table found ("table" text, kind text, key text, live jsonb, shadow jsonb)
"""
# Rows are compared as rows, but states as JSON, since the order of keys may differ; both are returned as JSON. A live row
# without any event in the history is `extra`. An erasure removes the contact from the live state, while Kafka keeps it as long as
# it keeps the event: this does not count as a difference.
_ROWS: Final = """
insert into found
select %(table)s, case when l.id is null then 'missing' when s.id is null then 'extra' else 'different' end,
  coalesce(l.id, s.id),
  to_jsonb(l) || jsonb_build_object('state', convert_from(l.state, 'UTF8')),
  to_jsonb(s) || jsonb_build_object('state', convert_from(s.state, 'UTF8'))
from (select l.* from public.{table} l where l.provider = %(provider)s and (
        exists (select from touched where aggregate_type = %(aggregate)s and aggregate_id = l.id and state in ('same', 'lost'))
        or not exists (select from public.history where aggregate_type = %(aggregate)s and aggregate_id = l.id))) l
  full join (select s.* from {shadow}.{table} s
             join touched t on t.aggregate_id = s.id and t.aggregate_type = %(aggregate)s and t.state in ('same', 'lost')) s
    on (s.id, s.provider) = (l.id, l.provider)
where row(l.*) is distinct from row(s.*)
  and not coalesce(to_jsonb(l) - 'state' = to_jsonb(s) - 'state'
    and (convert_from(l.state, 'UTF8')::jsonb = convert_from(s.state, 'UTF8')::jsonb
      or convert_from(l.state, 'UTF8')::jsonb = convert_from(s.state, 'UTF8')::jsonb - 'contact'
        and exists (select from public.erasures)), false)
"""
_LINES: Final = """
insert into found
select 'history', case when l.event_id is null then 'missing' when s.event_id is null then 'extra' else 'different' end,
  concat_ws(' ', aggregate_type, aggregate_id, event_id), to_jsonb(l), to_jsonb(s)
from (select l.* from public.history l join touched t using (aggregate_type, aggregate_id) where t.state in ('same', 'lost')) l
  full join (select s.* from {shadow}.history s join touched t using (aggregate_type, aggregate_id)
             where t.state in ('same', 'lost')) s
    using (aggregate_type, aggregate_id, event_id)
where row(l.*) is distinct from row(s.*)
"""
# Only the paid half is compared: expectations arrive over HTTP and are in no log. Rows whose payment was not compared are
# left out.
_PAIRS: Final = """
insert into found
select 'reconciliations', case when l.reference is null then 'missing' when s.reference is null then 'extra' else 'different' end,
  coalesce(l.reference, s.reference), to_jsonb(l), to_jsonb(s)
from (select reference, payment_id, paid_amount, paid_currency from public.reconciliations where payment_id is not null) l
  full join (select reference, payment_id, paid_amount, paid_currency from {shadow}.reconciliations) s
    on s.reference = l.reference
where (l.payment_id is null or exists (select from touched where aggregate_type = 'payment' and aggregate_id = l.payment_id
                                       and state in ('same', 'lost')))
  and (s.payment_id is null or exists (select from touched where aggregate_type = 'payment' and aggregate_id = s.payment_id
                                       and state in ('same', 'lost')))
  and row(l.*) is distinct from row(s.*)
"""
_SAMPLES: Final = """
select "table", kind, key, live, shadow
from (select *, row_number() over (partition by "table", kind order by key) as n from pg_temp.found) f
order by n, "table", kind, key limit %s
"""
