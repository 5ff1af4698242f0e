"""Runs all examinations at once: it takes as long as the slowest one, and never longer than the limit."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from ops.doctor.certificates import check_certificates
from ops.doctor.findings import fail, one_line
from ops.doctor.kafka import check_kafka
from ops.doctor.listeners import check_listeners
from ops.doctor.others import check_elasticsearch, check_redis
from ops.doctor.outcomes import check_outcomes
from ops.doctor.partners import check_partners
from ops.doctor.postgres import check_postgres
from ops.doctor.projections import check_projections
from ops.doctor.refusals import check_refusals
from ops.doctor.restarts import check_restarts
from ops.doctor.secret_changes import check_secret_changes
from ops.doctor.settings import check_secrets, check_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ops.doctor.findings import Finding

LIMIT: Final = 15.0  # seconds; every query has its own shorter limit, and few run one after the other


def examine(environ: Mapping[str, str], folder: Path, *, limit: float = LIMIT) -> list[Finding]:
    """Examine everything; findings come in the order in which a person would correct them. `folder` may hold `.env`."""
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "settings": lambda: check_settings(environ),
        "secrets": lambda: check_secrets(environ, folder),
        "secret changes": lambda: check_secret_changes(environ),
        "partners": lambda: check_partners(environ),
        "postgres": lambda: check_postgres(environ),
        "outcomes": lambda: check_outcomes(environ),
        "projections": lambda: check_projections(environ),
        "webhooks": lambda: check_refusals(environ),
        "kafka": lambda: check_kafka(environ),
        "redis": lambda: check_redis(environ),
        "elasticsearch": lambda: check_elasticsearch(environ),
        "certificates": lambda: check_certificates(environ),
        "listeners": lambda: check_listeners(environ),
        "restarts": lambda: check_restarts(environ),
    }
    runs = [_Run(area, check) for area, check in checks.items()]
    until = time.monotonic() + limit
    for run in runs:
        run.join(max(0.0, until - time.monotonic()))
    return [finding for run in runs for finding in run.findings()]


class _Run(threading.Thread):
    """One examination, in a daemon thread, so that a name server that hangs does not hold up the doctor."""

    def __init__(self, area: str, check: Callable[[], Iterable[Finding]]) -> None:
        super().__init__(name=f"doctor {area}", daemon=True)
        self._area = area
        self._check = check
        self._found: list[Finding] = []
        self.start()

    def run(self) -> None:
        try:
            for finding in self._check():
                self._found.append(finding)
        except Exception as error:  # noqa: BLE001  # one examination that breaks must not hide the others
            act = "this is a bug of the doctor: report it to its maintainers"
            self._found.append(fail(self._area, f"could not be examined: {type(error).__name__}: {one_line(error)}", act))

    def findings(self) -> list[Finding]:
        found = list(self._found)
        if self.is_alive():
            found.append(
                fail(self._area, "does not answer in time", "check that its name resolves and its network can be reached")
            )
        return found
