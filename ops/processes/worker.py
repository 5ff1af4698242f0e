"""The worker process: the composition root of every role, and of several at once."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog
import uvloop
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from outbox.faults import Faults
from outbox.secret_changes import report_to_audit_log
from runtime.build import register_build
from runtime.exposition import Exposition
from runtime.kafka import Cluster
from runtime.logs import configure_logs
from runtime.process import Stop
from runtime.schema import SchemaWatch
from runtime.secret_watch import SecretWatch
from runtime.startup import tune_gc
from runtime.tracing import configure_spans
from schemas.topology import process_of
from streams.app import run
from streams.roles import ROLES
from streams.settings import StreamSettings

log = structlog.get_logger()

_FIRST_LOOK: Final = 1.0  # seconds until the web opens without a schema
_KAFKA_LOOK: Final = 5.0  # seconds


def main(names: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Run a worker of these roles until SIGTERM, SIGINT or SIGHUP; returns the exit code.

    Raises SettingsError.
    """
    roles = {ROLES[name]: ROLES[name].settings.load(environ) for name in names}
    settings: StreamSettings = next(iter(roles.values()))
    process = process_of(names)
    configure_logs(process)
    for role in roles:
        register_build(f"worker-{role.name}")
    configure_spans(process, environ)
    stop = Stop()
    stop.on_signals()
    schema = SchemaWatch(settings.database_url, process.replace("-", " ", 1))
    schema.start()
    watch = SecretWatch(tuple(roles.values()), environ, report_to_audit_log(process, settings.database_url))
    watch.start()
    log.info("worker_starting", roles=list(names), topics=[topic for role in roles for topic in role.topics])
    if not (_await_schema(process, settings, schema, stop) and _await_kafka(process, settings, stop)):
        return 0
    uvloop.install()
    datadir = tempfile.mkdtemp(prefix="tallyhook-")
    tune_gc()
    try:
        return run(process, roles, datadir, schema, stop)
    finally:
        watch.stop()
        shutil.rmtree(datadir, ignore_errors=True)


def _await_kafka(process: str, settings: StreamSettings, stop: Stop) -> bool:
    """
    Wait until the brokers answer; return False if a stop was requested first.

    Faust would end the process at once: a broker that is away, or a wrong password, would cause a loop of restarts.
    """
    kafka, faults = settings.kafka, Faults()
    admin = AdminClient(faults.client(kafka))
    if not (detail := _look(kafka, admin, faults)):
        return True
    with _waiting(process, settings, lambda: {"waiting": "kafka_unavailable"}):
        while detail and not stop.requested:
            log.warning("worker_waiting", reason="kafka_unavailable", error=detail)
            stop.wait(settings.streams_retry_max.total_seconds())
            detail = None if stop.requested else _look(kafka, admin, faults)
    return not stop.requested


def _look(kafka: Cluster, admin: AdminClient, faults: Faults) -> str | None:
    """Request metadata from the brokers; return None if they answer, else a description of the fault."""
    try:
        admin.list_topics(timeout=_KAFKA_LOOK)
    except KafkaException as error:
        return faults.describe(kafka, admin, error)
    return None


def _await_schema(process: str, settings: StreamSettings, schema: SchemaWatch, stop: Stop) -> bool:
    """
    Wait until there may be a schema to work on; return False if a stop was requested first.

    While no schema fits, the worker joins no group, and so takes no partition from one that can work; its web shows the reason.
    While Postgres is away it does not wait here: the records that it reads wait then.
    """
    schema.wait_looked(_FIRST_LOOK)
    if not schema.unfit:
        return not stop.requested
    with _waiting(process, settings, schema.fields):
        return schema.wait_fit(stop)


@contextmanager
def _waiting(process: str, settings: StreamSettings, fields: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Serve health pages while the block waits: they report that it is not ready, with these fields as the reason."""

    def readiness() -> dict[str, Any]:
        return {"ready": False, "process": process, "partitions": 0, **fields()}

    web = Exposition(settings.streams_web_host, settings.streams_web_port, readiness)
    web.start()
    try:
        yield
    finally:
        web.stop()
