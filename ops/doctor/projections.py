"""Examines whether the rows exist that the history names; a sample, so that a large history costs no more than a small one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from migrations import chain
from ops.doctor import store
from ops.doctor.findings import fail, ok
from ops.doctor.settings import address_in
from runtime.endpoints import check_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import Connection

    from ops.doctor.findings import Finding

AREA: Final = "projections"
_PAGES: Final = 200  # of the history's table, at most, are looked at
_KINDS: Final = {
    "payments": "payment",
    "refunds": "refund",
    "disputes": "dispute",
    "subscriptions": "subscription",
    "invoices": "invoice",
    "leads": "lead",
}
_EMPTY: Final = {
    "config": "select exists (select from config_history) and not exists (select from config)",
    "config_history": "select exists (select from config) and not exists (select from config_history)",
    "search_documents": """
        select not exists (select from search_documents)
          and exists (select from consumed c where consumer = 'search'
                      and not exists (select from dead_letters d where d.event_id = c.event_id))""",
    # Half a day, since notifications are forgotten after one at the earliest.
    "notifications": """
        select not exists (select from notifications)
          and exists (select from consumed c where consumer = 'notifications'
                      and uuid_extract_timestamp(event_id) > now() - interval '12 hours'
                      and not exists (select from dead_letters d where d.event_id = c.event_id))""",
}
_TOLD_BY: Final = {"config": ("config_history",), "config_history": ("config",)}
_NAMES: Final = {"config_history": "config", "search_documents": "search", "lead_attempts": "leads"}
_TABLES: Final = (*_KINDS, *_EMPTY, "history", "reconciliations", "lead_attempts")
_MISSING: Final = "select name from unnest(%s::text[]) as t(name) where to_regclass(name) is null"
_SHARE: Final = "select least(100, 100.0 * %s / greatest(1, pg_relation_size('history') / 8192))::float4"
_SAMPLE: Final = """
select count(*), count(*) filter (where t.id is null)
from (select distinct aggregate_id from history tablesample system ({share}) where aggregate_type = {kind}) h
  left join {table} t on t.id = {key}
"""


def check_projections(environ: Mapping[str, str]) -> Iterator[Finding]:
    url = address_in(environ, "DATABASE_URL", check_database)
    if not url:
        return
    options = "-c statement_timeout=5000 -c timezone=UTC"
    try:
        with psycopg.connect(
            url, autocommit=True, connect_timeout=5, application_name="tallyhook doctor", options=options
        ) as connection:
            if store.is_migrated(connection) and store.revision(connection) == chain.head():  # else it is reported of Postgres
                yield from _check(connection)
    except psycopg.errors.QueryCanceled:
        yield ok(AREA, "too much to look at in five seconds; `tallyhook rebuild all --dry-run` compares every row")
    except psycopg.OperationalError:
        return  # reported of Postgres


def _check(connection: Connection) -> Iterator[Finding]:
    gone = {row[0] for row in connection.execute(_MISSING, (list(_TABLES),))}
    found = [_lost(table, f"the table {table} is not there") for table in sorted(gone)]
    looked = 0
    for table, kind in _KINDS.items():
        if not {table, "history"} & gone:
            seen, lost = _sample(connection, table, kind)
            looked += seen
            found += [_lost(table, f"{lost} of {seen} {table} that the history names have no row")] if lost else []
    found += [_lost(table, f"the table {table} is empty, and was not") for table in _emptied(connection, gone)]
    yield from found or [ok(AREA, f"the rows are there that the history names ({looked} looked at)")]


def _emptied(connection: Connection, gone: set[str]) -> Iterator[str]:
    """Return the empty tables for which another table shows that they had rows."""
    for table, query in _EMPTY.items():
        if not {table, *_TOLD_BY.get(table, ())} & gone and connection.execute(query.encode()).fetchall()[0][0]:
            yield table


def _sample(connection: Connection, table: str, kind: str) -> tuple[int, int]:
    """Count the objects that the sampled part of the history names, and those among them that have no row."""
    [(share,)] = connection.execute(_SHARE, (_PAGES,)).fetchall()
    key = sql.SQL("h.aggregate_id::uuid" if kind == "lead" else "h.aggregate_id")
    words = {"share": sql.Literal(share), "kind": sql.Literal(kind), "table": sql.Identifier(table), "key": key}
    [(seen, lost)] = connection.execute(sql.SQL(_SAMPLE).format(**words)).fetchall()
    return seen, lost


def _lost(table: str, text: str) -> Finding:
    act = f"`tallyhook rebuild {_NAMES.get(table, table)} --dry-run` says what comes back; workers may run"
    return fail(AREA, text, act, "rebuild")
