"""The chain of migrations builds exactly what the tables declare."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy.exc import OperationalError

import console
import gateway
import migrations
import operations
import outbox
import outbox.day_functions
import projections
from migrations import chain
from ops.commands.grants import sql_of
from outbox import partitions
from outbox.tables import metadata
from runtime.schema import needed, newest, read_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE: Final = Path(migrations.__file__).parent
for package in (outbox, projections, gateway, operations, console):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if package is projections or module.name.endswith("tables"):
            importlib.import_module(module.name)  # declares its tables on the shared metadata

# The parts of a database, from the catalog of the server.
LOOKS: Final = {
    "relations": """
        select c.relname, c.relkind::text, pg_get_partkeydef(c.oid), obj_description(c.oid)
        from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')
    """,
    "columns": """
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated::text,
               a.attidentity::text, pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text
        from pg_attribute a join pg_class c on c.oid = a.attrelid
          left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
    """,
    "order of columns": """
        select c.relname, array_agg(a.attname::text order by a.attnum)
        from pg_attribute a join pg_class c on c.oid = a.attrelid
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
        group by c.relname
    """,
    "constraints": """
        select conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid), convalidated
        from pg_constraint where connamespace = 'public'::regnamespace
    """,
    "indexes": """
        select indrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid
        from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace = 'public'::regnamespace
    """,
    "sequences": """
        select sequencename, data_type::text, start_value, min_value, max_value, increment_by, cycle, cache_size
        from pg_sequences where schemaname = 'public'
    """,
    "triggers and functions": """
        select 'trigger', tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
        union all
        select 'function', proname, pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace
    """,
}


@pytest.fixture
def new_database(postgres_server: str) -> Iterator[Callable[[], str]]:
    """Makes empty databases; gives the address of each."""
    names: list[str] = []

    def make() -> str:
        names.append(f"chain_{uuid4().hex[:12]}")
        _on_server(postgres_server, "create database {}", names[-1])
        return f"{postgres_server}/{names[-1]}"

    yield make
    for name in names:
        _on_server(postgres_server, "drop database {} with (force)", name)


def _on_server(server: str, statement: str, name: str) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def look(url: str, what: str) -> list[tuple[Any, ...]]:
    """Return the structure of the database, without alembic's own table."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(LOOKS[what]).fetchall()
    return sorted((row for row in rows if not str(row[0]).startswith("alembic_version")), key=str)


@pytest.fixture
def declared(new_database: Callable[[], str]) -> str:
    """A database made from the tables as the code declares them."""
    url = new_database()
    engine = chain.engine_of(url)
    metadata.create_all(engine)
    engine.dispose()
    return url


def test_the_chain_builds_exactly_what_the_tables_declare(declared: str, new_database: Callable[[], str]) -> None:
    migrated = new_database()
    assert chain.upgrade(migrated) == (None, chain.head())
    assert {what: look(migrated, what) for what in LOOKS} == {what: look(declared, what) for what in LOOKS}
    assert {row[0] for row in look(migrated, "relations")} >= {table.name for table in metadata.sorted_tables}


def test_alembic_finds_nothing_to_migrate(new_database: Callable[[], str]) -> None:
    migrated = new_database()
    chain.upgrade(migrated)
    engine = chain.engine_of(migrated)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_ids_of_pending_rows_are_not_kept_in_stock_by_a_session(declared: str) -> None:
    assert [row[-1] for row in look(declared, "sequences") if row[0] == "outbox_pending_id_seq"] == [1]


def test_two_upgrades_at_once_both_succeed(new_database: Callable[[], str]) -> None:
    url = new_database()
    with ThreadPoolExecutor(2) as threads:
        done = [future.result() for future in [threads.submit(chain.upgrade, url) for _ in range(2)]]
    assert sorted(done, key=str) == sorted([(None, chain.head()), (chain.head(), chain.head())], key=str)


def test_an_upgrade_of_a_current_database_changes_nothing(new_database: Callable[[], str]) -> None:
    url = new_database()
    chain.upgrade(url)
    before = {what: look(url, what) for what in LOOKS}
    assert chain.upgrade(url) == (chain.head(), chain.head())
    assert {what: look(url, what) for what in LOOKS} == before


def test_a_day_that_is_out_of_use_comes_back_after_an_upgrade(new_database: Callable[[], str]) -> None:
    """Every migration that changes a daily table changes its detached days too."""
    url = new_database()
    upgrade_to(url, "0020")
    now = datetime.now(UTC)
    days = [partitions.name(table, now.date()) for table in partitions.DAILY]
    with psycopg.connect(url, autocommit=True) as connection:
        for table, day in zip(partitions.DAILY, days, strict=True):
            connection.execute(
                sql.SQL("create table {} (like {} including all)").format(*map(sql.Identifier, (f"detached_{day}", table)))
            )
            connection.execute("insert into detached_partitions (partition, detached_at) values (%s, %s)", (day, now))
    chain.upgrade(url)
    with psycopg.connect(url, autocommit=True) as connection:
        assert partitions.maintain(connection, now, timedelta(days=1)).restored == days


def upgrade_to(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(HERE))
    engine = chain.engine_of(url)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    engine.dispose()


@pytest.mark.parametrize("file", sorted(HERE.glob("versions/*.py")), ids=lambda file: file.stem)
def test_a_migration_states_whether_it_expands_or_contracts(file: Path) -> None:
    assert re.fullmatch(r"\d{4}_(expand|contract)_[a-z0-9_]+", file.stem)


def test_each_contract_names_the_oldest_release_that_may_run_on_it() -> None:
    contracts = HERE.glob("versions/*_contract_*.py")
    assert [file.stem for file in contracts if not re.search(r'^oldest_code = "\d{4}"$', file.read_text(), re.MULTILINE)] == []


def test_the_data_that_a_contracting_migration_needs_is_kept_with_it(
    new_database: Callable[[], str], tmp_path: Path, monkeypatch: Any
) -> None:
    shutil.copytree(HERE, tmp_path / "migrations")
    contract = tmp_path / "migrations/versions/9001_contract_something.py"
    contract.write_text(
        f'revision = "9001"\ndown_revision = "{chain.head()}"\noldest_code = "0042"\n\ndef upgrade():\n    pass\n'
    )
    monkeypatch.setattr(chain, "_HERE", tmp_path / "migrations")
    url = new_database()
    assert chain.upgrade(url) == (None, "9001")
    with psycopg.connect(url) as connection:
        assert read_schema(connection)[:2] == ("9001", "0042")


def test_the_revision_that_processes_need_is_the_newest_expand() -> None:
    expands = [file.stem[:4] for file in HERE.glob("versions/*_expand_*.py")]
    assert (needed(), newest()) == (max(expands), chain.head())


def test_the_owner_of_the_grants_takes_over_a_schema_that_another_role_made(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(2):  # run once more it changes nothing
            connection.execute(sql_of("takes_over", "owns_nothing").encode())
        connection.execute("set role takes_over")
        connection.execute("alter table payments add column more text")
        connection.execute("update alembic_version set version_num = version_num")
        others = """
            select relname from pg_class where relnamespace = 'public'::regnamespace and relowner <> 'takes_over'::regrole
            union all
            select proname from pg_proc where pronamespace = 'public'::regnamespace and proowner <> 'takes_over'::regrole
        """
        assert connection.execute(others).fetchall() == []
        connection.execute("set role owns_nothing")
        connection.execute("select count(*) from payments")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("alter table payments add column other text")


@pytest.mark.parametrize("deadlocks", [1, 2])
def test_a_migration_that_meets_running_processes_in_a_deadlock_is_tried_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch, deadlocks: int
) -> None:
    tries = 0

    def lock(config: Config, _: str) -> None:
        nonlocal tries
        tries += 1
        connection = config.attributes["connection"]
        connection.exec_driver_sql("set local deadlock_timeout = '50ms'")
        connection.exec_driver_sql("lock table consumed in access exclusive mode")
        if tries <= deadlocks:
            other = pool.submit(cross)
            wait_until_held("payments")
            connection.exec_driver_sql("lock table payments in access exclusive mode")
            other.result()

    def cross() -> None:
        """Lock the two tables in the other order, as a running process may."""
        with psycopg.connect(database_url) as process:
            process.execute("set local deadlock_timeout = '1min'")
            process.execute("lock table payments in share mode")
            process.execute("lock table consumed in share mode")

    def wait_until_held(table: str) -> None:
        query = "select count(*) from pg_locks where relation = %s::regclass and mode = 'ShareLock' and granted"
        with psycopg.connect(database_url, autocommit=True) as looking:
            while looking.execute(query, (table,)).fetchone() == (0,):
                pass

    monkeypatch.setattr(command, "upgrade", lock)
    with ThreadPoolExecutor(1) as pool:
        assert chain.upgrade(database_url) == (newest(), newest())
    assert tries == deadlocks + 1


def test_a_migration_that_waits_for_a_lock_is_not_tried_again(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def lock(config: Config, _: str) -> None:
        nonlocal tries
        tries += 1
        config.attributes["connection"].exec_driver_sql("set local lock_timeout = '10ms'")
        config.attributes["connection"].exec_driver_sql("lock table consumed in access exclusive mode")

    monkeypatch.setattr(command, "upgrade", lock)
    with psycopg.connect(database_url) as reader:
        reader.execute("lock table consumed in access share mode")
        with pytest.raises(OperationalError, match="lock timeout"):
            chain.upgrade(database_url)
    assert tries == 1
