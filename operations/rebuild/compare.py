"""Compare the live rows with those that the log makes, and correct them, in SQL; every row that differs gets a verdict."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg import Connection, sql

from operations.errors import OperationError, Reason
from operations.offset_replay.schema import create, table_exists
from operations.rebuild.sources import Counted, Part

SAMPLES: Final = 5

_JUDGE: Final = """
create temporary table {verdicts} as
select {verdict} as verdict, {keys}
from (select * from {live} where {only}) l full join (select * from {shadow}.{table} where {only}) s on {same_key} {joins}
where ({live_columns}) is distinct from ({shadow_columns}) or {differs}
"""
_EQUAL_BUT: Final = """
select {keys}, l.{json}, s.{json} from {verdicts} r join {live} l on {live_key} join {shadow}.{table} s on {shadow_key}
where r.verdict = 'different' and ({live_columns}) is not distinct from ({shadow_columns})
"""
_FORGET: Final = "delete from {verdicts} r where ({keys}) = ({values})"
_INSERT: Final = """
insert into public.{table} ({columns}) select {shadow_columns}
from {shadow}.{table} s join {verdicts} r on {shadow_key} where r.verdict = 'missing' order by {keys}
"""
_UPDATE: Final = """
update public.{table} l set {changes} from {shadow}.{table} s join {verdicts} r on {shadow_key}
where {live_key} and r.verdict in ('behind', 'different')
"""
_DELETE: Final = "delete from public.{table} l using {verdicts} r where {live_key} and r.verdict = 'extra'"


def judge(connection: Connection, schema: str, part: Part) -> Counted:
    """Compare a part in the open transaction; the verdicts stay in a temporary table for `correct`."""
    words = _words(connection, schema, part)
    connection.execute(sql.SQL("drop table if exists {}").format(words["verdicts"]))
    connection.execute(sql.SQL(_JUDGE).format(**words))
    if part.unseen is not None:
        unseen = sql.SQL("insert into {verdicts} " + part.unseen).format(**words)
        connection.execute(unseen)
    if part.json is not None and table_exists(connection, part.name):
        _ignore_key_order(connection, part, words)
    kinds = connection.execute(sql.SQL("select verdict, count(*) from {verdicts} group by 1 order by 1").format(**words))
    return Counted(
        part,
        live=_count(connection, "select count(*) from {live} where {only}", words),
        log=_count(connection, "select count(*) from {shadow}.{table} where {only}", words),
        verdicts=dict(kinds.fetchall()),
        samples=_samples(connection, _joined(part, words, part.columns)),
    )


def correct(connection: Connection, schema: str, counted: Counted) -> int:
    """
    Change the live rows to those that the log makes, by their verdicts, and return the number of changed rows.

    Raises OperationError `rebuild_incomplete` if it changed another number of rows than expected.
    """
    part = counted.part
    if not table_exists(connection, part.name):
        create(connection, part.table)
    words, changed = _joined(part, _words(connection, schema, part), part.columns), 0
    for statement, verdicts in ((_DELETE, ("extra",)), (_UPDATE, ("behind", "different")), (_INSERT, ("missing",))):
        if wanted := counted.number(*verdicts):
            number = connection.execute(sql.SQL(statement).format(**words)).rowcount
            if number != wanted:
                raise OperationError(
                    Reason.REBUILD_INCOMPLETE, f"{part.name}: {number} rows were changed where {wanted} should be"
                )
            changed += number
    return changed


def live_table(connection: Connection, schema: str, name: str) -> sql.Composable:
    """Return the relation to select from; a missing table counts as empty."""
    if table_exists(connection, name):
        return sql.Identifier("public", name)
    return sql.SQL("(select * from {} where false)").format(sql.Identifier(schema, name))


def _words(connection: Connection, schema: str, part: Part) -> dict[str, sql.Composable]:
    """Return the values for the placeholders of the statements."""
    table, shadow, compared = sql.Identifier(part.name), sql.Identifier(schema), [*part.key, *(part.compared or part.columns)]
    words: dict[str, sql.Composable] = {
        "table": table,
        "shadow": shadow,
        "live": live_table(connection, schema, part.name),
        "verdicts": sql.Identifier(f"rebuild_{part.name}"),
        "only": sql.SQL(part.only),
        "differs": sql.SQL(part.differs),
        "keys": _list("coalesce(l.{0}, s.{0}) as {0}", part.key),
        "same_key": _and("l.{0} = s.{0}", part.key),
        "live_columns": _list("l.{0}", compared),
        "shadow_columns": _list("s.{0}", compared),
    }
    words["verdict"] = sql.SQL(part.verdict)
    words["joins"] = sql.SQL(part.joins).format(shadow=shadow)
    return words


def _ignore_key_order(connection: Connection, part: Part, words: dict[str, sql.Composable]) -> None:
    """Delete the verdicts on documents that differ only in the order of their keys."""
    others = [name for name in part.columns if name != part.json]
    query = sql.SQL(_EQUAL_BUT).format(**_joined(part, words, others), json=sql.Identifier(part.json or ""))
    for *key, live, log in connection.execute(query).fetchall():
        if _decoded(live) == _decoded(log):
            names = sql.SQL(", ").join(map(sql.Identifier, part.key))
            values = sql.SQL(", ").join(map(sql.Literal, key))
            connection.execute(sql.SQL(_FORGET).format(verdicts=words["verdicts"], keys=names, values=values))


def _decoded(document: bytes) -> Any:
    try:
        return msgspec.json.decode(document)
    except (ValueError, RecursionError):
        return document


def _joined(part: Part, words: dict[str, sql.Composable], columns: Sequence[str]) -> dict[str, sql.Composable]:
    return {
        **words,
        "keys": _list("r.{0}", part.key),
        "live_key": _and("l.{0} = r.{0}", part.key),
        "shadow_key": _and("s.{0} = r.{0}", part.key),
        "columns": _list("{0}", columns),
        "live_columns": _list("l.{0}", columns),
        "shadow_columns": _list("s.{0}", columns),
        "changes": _list("{0} = s.{0}", part.updated or columns),
    }


def _samples(connection: Connection, words: dict[str, sql.Composable]) -> dict[str, list[str]]:
    """Return some keys of each verdict."""
    query = """
    select verdict, array_agg(concat_ws(' ', {keys}) order by {keys}) from (
      select *, row_number() over (partition by verdict order by {keys}) as n from {verdicts} r) r
    where n <= {most} group by verdict
    """
    return dict(connection.execute(sql.SQL(query).format(**words, most=SAMPLES)).fetchall())


def _count(connection: Connection, query: str, words: dict[str, sql.Composable]) -> int:
    row = connection.execute(sql.SQL(query).format(**words)).fetchone()
    return int(row[0]) if row else 0


def _list(pattern: str, names: Sequence[str], between: str = ", ") -> sql.Composed:
    return sql.SQL(between).join(sql.SQL(pattern).format(sql.Identifier(name)) for name in names)


def _and(pattern: str, names: Sequence[str]) -> sql.Composed:
    return _list(pattern, names, " and ")
