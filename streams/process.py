"""The worker process: the composition root of every role."""

import shutil
import tempfile
from collections.abc import Mapping
from typing import Final

import structlog
import uvloop

from runtime import collector
from runtime.build import tell_build
from runtime.logs import configure_logs
from runtime.spans import configure_spans
from streams.alerts.handler import ALERTS
from streams.app import run
from streams.cache.handler import CACHE
from streams.leads.role import LEADS
from streams.notifications.handler import NOTIFICATIONS
from streams.payments.handler import PAYMENTS
from streams.role import Role
from streams.search.handler import SEARCH

log = structlog.get_logger()

ROLES: Final[Mapping[str, Role]] = {role.name: role for role in (PAYMENTS, CACHE, SEARCH, NOTIFICATIONS, LEADS, ALERTS)}


def main(name: str, environ: Mapping[str, str]) -> int:
    """
    Run one worker of the role until SIGTERM or SIGINT; returns the exit code.

    Raises SettingsError.
    """
    role = ROLES[name]
    settings = role.settings.load(environ)
    configure_logs(f"worker-{name}")
    tell_build(f"worker-{name}")
    configure_spans(f"worker-{name}", environ)
    uvloop.install()
    datadir = tempfile.mkdtemp(prefix="tallyhook-")
    collector.relax()
    log.info("worker_starting", role=name, topics=list(role.topics))
    try:
        return run(role, settings, datadir)
    finally:
        shutil.rmtree(datadir, ignore_errors=True)
