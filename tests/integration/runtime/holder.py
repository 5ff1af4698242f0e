"""A process that holds a lock: `holder.py URL LEASE_SECONDS`; prints `held` when it has it, and `held` or `lost` at each line."""

from __future__ import annotations

import sys
from datetime import timedelta

import structlog

from runtime.heartbeat import Heartbeat
from runtime.lease import Lease

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
with Lease(sys.argv[1], "test holder", timedelta(seconds=float(sys.argv[2])), Heartbeat("test")) as lease:
    lease.connection.execute("select pg_advisory_lock(1)")
    print("held", flush=True)  # noqa: T201  # the test reads it
    for _ in sys.stdin:
        print("held" if lease.held else "lost", flush=True)  # noqa: T201  # same
