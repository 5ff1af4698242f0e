"""The worker process: the composition root of every role."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Final

import structlog
import uvloop

from runtime.database import make_pool
from runtime.logs import configure_logs
from streams.app import build_app, run
from streams.handler import Handler
from streams.payments.handler import PaymentsHandler
from streams.processor import Processor
from streams.settings import StreamSettings

log = structlog.get_logger()

ROLES: Final[Mapping[str, Callable[[], Handler]]] = {"payments": PaymentsHandler}


def main(role: str, environ: Mapping[str, str]) -> int:
    """Run one worker of the role until SIGTERM or SIGINT; returns the exit code."""
    settings = StreamSettings.load(environ)
    configure_logs(f"worker-{role}")
    uvloop.install()
    handler = ROLES[role]()
    pool = make_pool(settings.database_url, size=settings.streams_lanes + 1, name=f"worker {role}")
    processor = Processor(handler, pool, lanes=settings.streams_lanes, retry_max=settings.streams_retry_max)
    datadir = tempfile.mkdtemp(prefix="tallyhook-")
    log.info("worker_starting", role=role, topics=list(handler.topics))
    try:
        return run(build_app(settings, handler, processor, datadir), pool)
    finally:
        shutil.rmtree(datadir, ignore_errors=True)
