"""Examines Postgres: whether it answers, keeps its commits, has the schema and its days, and what waits in it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg

from ops.doctor import store
from ops.doctor.faults import of_postgres
from ops.doctor.findings import fail, ok, warn
from ops.doctor.settings import address_in
from outbox import partitions
from outbox import relay_store as outbox
from runtime.addresses import shown
from runtime.endpoints import check_database
from runtime.schema import needed, read_schema, unfit
from runtime.sessions import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import Connection

    from ops.doctor.findings import Finding
    from ops.doctor.store import Vitals

AREA: Final = "postgres"
WAITING: Final = "outbox"
_TESTED: Final = 180_000  # the major version that everything is tested on
_COLLATION_KNOWN: Final = 150_000  # the first major version that stores the version of a database's collation
_SKEW: Final = (timedelta(seconds=1), timedelta(seconds=30))
_DAYS: Final = 3  # days ahead; with fewer a person should look
_FULL: Final = 0.8
_LONG: Final = 600.0  # seconds that a transaction may be open
_LATE: Final = timedelta(minutes=1)
_LEFT: Final = (0.15, 0.05)  # of the disk


def check_postgres(environ: Mapping[str, str]) -> Iterator[Finding]:
    url = address_in(environ, "DATABASE_URL", check_database)
    if not url:
        return
    try:
        with connect(url, name="doctor", statement=store.LIMIT) as connection:
            yield from _check_server(connection, shown(url))
            yield from _check_schema(connection)
    except psycopg.Error as error:
        fault = of_postgres(error, url)
        act = f"{fault.act}; meanwhile providers get 503 and send again"
        yield fail(AREA, f"{shown(url)} does not serve: {fault.text}", act, "postgres-down")


def _check_server(connection: Connection, where: str) -> Iterator[Finding]:
    before = datetime.now(UTC)
    vitals = store.vitals(connection)
    skew = vitals.now - before - (datetime.now(UTC) - before) / 2
    yield ok(AREA, f"{where} serves, version {vitals.version_text}")
    if vitals.version < _TESTED:
        act = "upgrade it: everything here is tested on 18, and queries of the runbooks need it"
        yield warn(AREA, f"version {vitals.version_text} is older than 18", act)
    if vitals.replica:
        yield fail(AREA, "this is a replica: nothing can be written", "point DATABASE_URL at the primary", "postgres-down")
    yield from _check_durability(vitals)
    if vitals.version >= _COLLATION_KNOWN:
        yield from _check_collation(*store.collation(connection))
    yield _check_clock(skew)
    yield from _check_load(vitals)


def _check_durability(vitals: Vitals) -> Iterator[Finding]:
    """Check the settings that make a commit survive a crash, which a 2xx promises."""
    weak = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if getattr(vitals, name) == "off"]
    for name in weak:
        yield fail(AREA, f"{name} is off: a crash loses events that were acknowledged", f"set {name} = on", "postgres-down")
    if not weak:
        yield ok(AREA, "commits survive a crash")


def _check_collation(stored: str | None, actual: str | None) -> Iterator[Finding]:
    """
    Check that the server sorts texts as it did when its indexes were built.

    The order of a locale like en_US.utf8 comes from the operating system, and may change with it: by an upgrade, another image,
    or after a failover to a standby on another system. An index in the old order misses rows, and a unique one admits duplicates
    (https://www.postgresql.org/docs/18/sql-altercollation.html#SQL-ALTERCOLLATION-NOTES).
    """
    if stored == actual:
        yield ok(AREA, "texts are sorted as the indexes expect")
        return
    text = (
        f"texts are sorted by version {actual} of the collation, and the indexes by {stored}: a webhook could be accepted twice"
    )
    act = "stop Tallyhook, `reindex database`, `alter database … refresh collation version`"
    yield fail(AREA, text, f"{act} (docs/connections.md)")


def _check_clock(skew: timedelta) -> Finding:
    off = abs(skew)
    text = f"its clock is {off.total_seconds():.1f} s {'ahead of' if skew > timedelta() else 'behind'} ours"
    act = "run a time service (chrony, systemd-timesyncd) on both machines; signatures and due times go by the clock"
    if off > _SKEW[1]:
        return fail(AREA, text, act)
    return warn(AREA, text, act) if off > _SKEW[0] else ok(AREA, "its clock agrees with ours")


def _check_load(vitals: Vitals) -> Iterator[Finding]:
    if vitals.connections > _FULL * vitals.connections_max:
        act = "raise max_connections, or end what holds them"
        yield warn(AREA, f"{vitals.connections} of {vitals.connections_max} connections are in use", act, "postgres-down")
    if vitals.oldest_transaction_seconds > _LONG:
        act = "find it in pg_stat_activity; it keeps dead rows and days that are due from being removed"
        yield warn(AREA, f"a transaction has been open for {vitals.oldest_transaction_seconds / 60:.0f} min", act, "retention")
    if vitals.data_directory and (folder := Path(vitals.data_directory)).is_dir():
        yield from check_disk(AREA, folder)


def check_disk(area: str, folder: Path) -> Iterator[Finding]:
    """Report the room on the disk that holds the folder."""
    usage = shutil.disk_usage(folder)
    left = usage.free / usage.total
    text = f"{usage.free / 2**30:.0f} GiB left on the disk of its data, {left:.0%}"
    act = "make room before it is full: commits fail then"
    if left < _LEFT[1]:
        yield fail(area, text, act, "disk-full")
    elif left < _LEFT[0]:
        yield warn(area, text, act, "disk-full")
    else:
        yield ok(area, text)


def _check_schema(connection: Connection) -> Iterator[Finding]:
    found = read_schema(connection)
    if wrong := unfit(found):
        yield fail(AREA, f"{wrong.reason}: {wrong.detail}", "run `tallyhook migrate` of the release that is deployed", "schema")
        return
    yield ok(AREA, f"the schema is at revision {found.revision}, this release needs {needed()}; its system is {found.system}")
    yield _check_days(connection, datetime.now(UTC))
    yield from _check_waiting(connection, datetime.now(UTC))


def _check_days(connection: Connection, now: datetime) -> Finding:
    existing = {*partitions.partitions(connection)}
    days = [now.date() + timedelta(days=ahead) for ahead in range(partitions.DAYS_AHEAD)]
    missing = [day for day in days if any(partitions.name(table, day) not in existing for table in partitions.DAILY)]
    if not missing:
        return ok(AREA, f"the days until {days[-1]} have their partitions")
    act = "run `tallyhook retention`, and find out why the relays do not"
    text = f"{missing[0]} has no partition" + (f", nor have {len(missing) - 1} later days" if missing[1:] else "")
    near = missing[0] < now.date() + timedelta(days=_DAYS)
    return (fail if near else warn)(AREA, f"{text}: nothing of that day could be stored", act, "retention")


def _check_waiting(connection: Connection, now: datetime) -> Iterator[Finding]:
    depth = outbox.depth(connection)
    late = depth.oldest is not None and now - depth.oldest > _LATE
    if depth.oldest and late:
        waited = (now - depth.oldest).total_seconds()
        text = f"{depth.pending} events wait for Kafka, the oldest for {waited / 60:.0f} min"
        yield warn(WAITING, text, "check that a relay runs and that Kafka answers", "outbox-backlog")
    if depth.parked:
        act = "`tallyhook outbox status` shows which events and why"
        yield warn(WAITING, f"{depth.parked} events are parked: Kafka refuses them", act, "outbox-backlog")
    if not late and not depth.parked:
        yield ok(WAITING, f"{depth.pending} events wait for Kafka, none for long")
    for worker, topics in store.lost(connection).items():
        act = "the relay sends again what the log has of them; find out why they were lost"
        yield fail(WAITING, f"Kafka has lost records of {topics} before the {worker} worker read them", act, "records-lost")
    letters = store.open_letters(connection)
    for consumer, number in letters.items():
        act = f"`tallyhook dead-letters list --consumer {consumer}` shows the reasons"
        yield warn("dead letters", f"{number} of the {consumer} worker are open", act, "dead-letters")
    if not letters:
        yield ok("dead letters", "none is open")
