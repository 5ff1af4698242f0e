"""
Examines whether the rows exist that the history and the newest events name.

It takes a sample of each, so that a large system costs no more than a small one. Neither alone is enough: a history can be lost
with its rows, and events are kept for only some weeks.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from migrations import chain
from ops.doctor import store
from ops.doctor.findings import fail, ok
from ops.doctor.settings import address_in
from runtime.endpoints import check_database
from runtime.ids import first_id_of
from runtime.sessions import connect
from schemas.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import Connection

    from ops.doctor.findings import Finding

AREA: Final = "projections"
_PAGES: Final = 200  # pages of the history's table that are read at most
_KINDS: Final = {
    "payments": "payment",
    "refunds": "refund",
    "disputes": "dispute",
    "subscriptions": "subscription",
    "invoices": "invoice",
    "leads": "lead",
}
_TOPICS: Final = {
    "payment": Topic.BILLING_PAYMENTS,
    "refund": Topic.BILLING_REFUNDS,
    "dispute": Topic.BILLING_DISPUTES,
    "subscription": Topic.BILLING_SUBSCRIPTIONS,
    "invoice": Topic.BILLING_INVOICES,
}
"""A worker appends the events of these in the transaction that writes the row."""
_NEWEST: Final = "(select topic, aggregate_type, aggregate_id from outbox where id >= %(since)s order by id desc limit 20000)"
_EMPTY: Final = {
    "config": f"""
        select not exists (select from config)
          and (exists (select from config_history) or exists (select from {_NEWEST} o where o.topic = 'config.events'))""",
    "config_history": f"""
        select not exists (select from config_history)
          and (exists (select from config) or exists (select from {_NEWEST} o where o.topic = 'config.events'))""",
    "history": """
        select not exists (select from history) and (exists (select from payments) or exists (select from leads))""",
    "reconciliations": """
        select not exists (select from reconciliations) and exists (select from payments where status = 'succeeded')""",
    "lead_attempts": "select not exists (select from lead_attempts) and exists (select from leads where status = 'delivered')",
    "leads": """
        select not exists (select from leads) and not exists (select from history where aggregate_type = 'lead')
          and not exists (select from erasures)
          and exists (select from consumed c where consumer = 'leads' and event_id >= %(since)s
                      and not exists (select from dead_letters d where d.event_id = c.event_id))""",
    "search_documents": """
        select not exists (select from search_documents)
          and exists (select from consumed c where consumer = 'search'
                      and not exists (select from dead_letters d where d.event_id = c.event_id))""",
    "notifications": """
        select not exists (select from notifications)
          and exists (select from consumed c where consumer = 'notifications' and event_id >= %(since)s
                      and not exists (select from dead_letters d where d.event_id = c.event_id))""",
}
_SHOWN_BY: Final = {
    "config": ("config_history",),
    "config_history": ("config",),
    "history": ("payments", "leads"),
    "reconciliations": ("payments",),
    "lead_attempts": ("leads",),
    "leads": ("history",),
}
_RECENT: Final = timedelta(hours=12)
"""Leads and notifications are forgotten after a day at the earliest."""
_NAMES: Final = {"config_history": "config", "search_documents": "search", "lead_attempts": "leads"}
_TABLES: Final = tuple(dict.fromkeys((*_KINDS, *_EMPTY)))
_MISSING: Final = "select name from unnest(%s::text[]) as t(name) where to_regclass(name) is null"
_SHARE: Final = "select least(100, 100.0 * %s / greatest(1, pg_relation_size('history') / 8192))::float4"
_SAMPLE: Final = """
select count(*), count(*) filter (where t.id is null)
from (select distinct aggregate_id from history tablesample system ({share}) where aggregate_type = {kind}) h
  left join {table} t on t.id = {key}
"""
_BILLED: Final = f"""
select count(*), count(*) filter (where t.id is null)
from (select distinct aggregate_id from {_NEWEST} o where o.topic = {{topic}} and o.aggregate_type = {{kind}}) h
  left join {{table}} t on t.id = h.aggregate_id
"""


def check_projections(environ: Mapping[str, str]) -> Iterator[Finding]:
    url = address_in(environ, "DATABASE_URL", check_database)
    if not url:
        return
    try:
        with connect(url, name="doctor", statement=store.LIMIT) as connection:
            if (
                store.is_migrated(connection) and store.revision(connection) == chain.head()
            ):  # else the examination of Postgres reports it
                yield from _check(connection)
    except psycopg.errors.QueryCanceled:
        yield ok(AREA, "too much to look at in five seconds; `tallyhook rebuild all --dry-run` compares every row")
    except psycopg.OperationalError:
        return  # reported by the examination of Postgres


def _check(connection: Connection) -> Iterator[Finding]:
    gone = {row[0] for row in connection.execute(_MISSING, (list(_TABLES),))}
    found = [_lost(table, f"the table {table} does not exist") for table in sorted(gone)]
    looked = 0
    for table, kind in _KINDS.items():
        samples = list(_samples(connection, table, kind, gone)) if table not in gone else []
        looked += max((seen for _, seen, _ in samples), default=0)
        worst = next(((by, seen, lost) for by, seen, lost in samples if lost), None)
        found += [_lost(table, "{2} of {1} {table} that {0} have no row".format(*worst, table=table))] if worst else []
    found += [_lost(table, f"the table {table} is empty, and had rows before") for table in _emptied(connection, gone)]
    yield from found or [ok(AREA, f"the rows exist that the history names ({looked} examined)")]


def _emptied(connection: Connection, gone: set[str]) -> Iterator[str]:
    """Return the empty tables for which another table shows that they had rows."""
    for table, query in _EMPTY.items():
        if not {table, *_SHOWN_BY.get(table, ())} & gone and connection.execute(query.encode(), _since()).fetchall()[0][0]:
            yield table


def _samples(connection: Connection, table: str, kind: str, gone: set[str]) -> Iterator[tuple[str, int, int]]:
    """Count the objects that a sample names, and those among them that have no row: by the history, and by the newest events."""
    words = {"kind": sql.Literal(kind), "table": sql.Identifier(table)}
    if "history" not in gone:
        [(share,)] = connection.execute(_SHARE, (_PAGES,)).fetchall()
        key = sql.SQL("h.aggregate_id::uuid" if kind == "lead" else "h.aggregate_id")
        of_history = sql.SQL(_SAMPLE).format(share=sql.Literal(share), key=key, **words)
        yield "the history names", *connection.execute(of_history).fetchall()[0]
    if topic := _TOPICS.get(kind):
        of_events = sql.SQL(_BILLED).format(topic=sql.Literal(topic), **words)
        yield "the newest events name", *connection.execute(of_events, _since()).fetchall()[0]


def _since() -> dict[str, Any]:
    return {"since": first_id_of(datetime.now(UTC) - _RECENT)}


def _lost(table: str, text: str) -> Finding:
    act = f"`tallyhook rebuild {_NAMES.get(table, table)} --dry-run` shows which rows are restored; workers may run"
    return fail(AREA, text, act, "rebuild")
