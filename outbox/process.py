"""The relay process: its composition root, and what it does on the side: the upkeep of partitions, the sweep of the ledger."""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import structlog

from outbox import metrics
from outbox.alerts import forget_windows
from outbox.idempotency import forget_expired
from outbox.partitions import Upkeep, maintain
from outbox.publisher import Publisher
from outbox.relay import Relay
from outbox.replays import forget_replays
from outbox.secret_uses import forget_uses
from outbox.settings import RelaySettings, RetentionSettings
from outbox.sweeper import sweep_for_ever
from runtime import collector
from runtime.build import tell_build
from runtime.database import UNAVAILABLE
from runtime.exposition import Exposition
from runtime.logs import configure_logs
from runtime.process import Stop
from runtime.spans import configure_spans

log = structlog.get_logger()

# Seconds. The thread that reads ahead waits for the interpreter at every piece of its result; at Python's default of 5 ms it
# held up a backlog by a fifth.
_SWITCH_INTERVAL: Final = 0.0005
_UPKEEP_EVERY: Final = timedelta(hours=1)


Forget = Callable[[psycopg.Connection], object]
"""Deletes what else is beyond its time, on a connection in autocommit mode."""


def main(environ: Mapping[str, str], *forgets: Forget) -> int:
    """Run one relay until SIGTERM or SIGINT; its upkeep calls `forgets` too."""
    settings = RelaySettings.load(environ)
    configure_logs("relay")
    tell_build("relay")
    configure_spans("relay", environ)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    stop = Stop()
    stop.on_signals()
    publisher = Publisher(settings.kafka_bootstrap_servers)
    relay = Relay(settings, publisher, stop)
    web = Exposition(settings.relay_web_host, settings.relay_web_port, relay.readiness)
    web.start()
    threading.Thread(target=_keep_partitions, args=(settings, forgets), name="retention", daemon=True).start()
    threading.Thread(target=sweep_for_ever, args=(settings,), name="ledger", daemon=True).start()
    collector.relax()
    log.info("relay_started", web=f"http://{settings.relay_web_host}:{web.port}")
    relay.run()
    publisher.close()
    web.stop()
    log.info("relay_stopped")
    return 0


def keep_partitions(settings: RetentionSettings, *forgets: Forget) -> Upkeep:
    """Make the days ahead and drop those beyond the retention, once; with them what else has an end, by its own time."""
    now, retention = datetime.now(UTC), timedelta(days=settings.retention_days)
    with psycopg.connect(settings.database_url, autocommit=True, application_name="tallyhook retention") as connection:
        forget_expired(connection)
        forget_windows(connection, now - retention)
        forget_replays(connection, now - retention)
        forget_uses(connection, now)
        for forget in forgets:
            forget(connection)
        return maintain(connection, now.date(), retention)


def _keep_partitions(settings: RetentionSettings, forgets: Sequence[Forget]) -> None:
    pause = threading.Event()
    while True:
        try:
            upkeep = keep_partitions(settings, *forgets)
            metrics.UPKEEP.set_to_current_time()
            if any(upkeep):
                log.info("partitions_kept", created=len(upkeep.created), dropped=upkeep.dropped, deferred=upkeep.deferred)
        except UNAVAILABLE as error:
            log.warning("retention_postponed", reason="postgres_unavailable", error=str(error).strip())
        pause.wait(_UPKEEP_EVERY.total_seconds())
