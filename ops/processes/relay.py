"""The relay process: its composition root, with the services beside it: upkeep of partitions, recovery, sweep of the ledger."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from operations.ledger.loop import sweeping
from operations.lost_records.loop import recovering
from outbox.publisher import Publisher
from outbox.relay import Relay
from outbox.secret_changes import report_to_audit_log
from outbox.settings import RelaySettings
from outbox.upkeep import Deletion, keeping_days
from runtime.build import register_build
from runtime.exposition import Exposition
from runtime.logs import configure_logs
from runtime.process import Stop
from runtime.schema import SchemaWatch
from runtime.secret_watch import SecretWatch
from runtime.service import Service
from runtime.startup import tune_gc
from runtime.tracing import configure_spans

log = structlog.get_logger()

# Seconds. The thread that reads ahead waits for the interpreter at every piece of its result; at Python's default of 5 ms it
# held up a backlog by a fifth.
_SWITCH_INTERVAL: Final = 0.0005
_PATIENCE: Final = 12.0
"""Seconds for a stop, which waits for Postgres too: one that does not answer would block it without end."""


def main(environ: Mapping[str, str], *deletions: Deletion) -> int:
    """Run one relay until SIGTERM, SIGINT or SIGHUP; its upkeep calls `deletions` too."""
    settings = RelaySettings.load(environ)
    configure_logs("relay")
    register_build("relay")
    configure_spans("relay", environ)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    stop = Stop(_PATIENCE)
    stop.on_signals()
    publisher = Publisher(settings.kafka, settings.lock_lease)
    settings.on_change(lambda newest: publisher.renew_login(newest.kafka))
    relay = Relay(settings, publisher, stop)
    watch = SecretWatch((settings,), environ, report_to_audit_log("relay", settings.database_url))
    watch.start()
    schema = SchemaWatch(settings.database_url, "relay")
    schema.start()
    readiness = partial(_readiness, relay, schema, stop)
    web = Exposition(settings.relay_web_host, settings.relay_web_port, readiness, [relay.heartbeat])
    web.start()
    log.info("relay_started", web=f"http://{settings.relay_web_host}:{web.port}")
    if schema.wait_fit(stop):
        for service in services(settings, deletions):
            service.run_in_thread()
        tune_gc()
        relay.run()
    publisher.close()
    schema.stop()
    watch.stop()
    web.stop()
    log.info("relay_stopped")
    return 0


def services(settings: RelaySettings, deletions: Sequence[Deletion]) -> list[Service]:
    """Return the services beside the relay, each in its own thread, for as long as the process lives."""
    return [keeping_days(settings, deletions), recovering(settings), sweeping(settings)]


def _readiness(relay: Relay, schema: SchemaWatch, stop: Stop) -> dict[str, Any]:
    """Return the body of `/health/ready`: the shards while it is ready, else the reason why it is not."""
    owned, states = relay.readiness(), {"process": "relay"} | schema.fields()
    if stop.requested:
        states |= {"reason": "stopping", "detail": "the relay has been asked to stop"}
    elif not schema.unfit and owned is None:
        states |= {"reason": "postgres_unavailable", "detail": "Postgres is away"}
    return {"ready": "reason" not in states} | (owned or {}) | states
