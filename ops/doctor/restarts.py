"""The restarts that the supervisor of the local stack counts for each process, and the state that it reports now."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ops.doctor.findings import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ops.doctor.findings import Finding
    from ops.stack.state import ProcessState

AREA: Final = "restarts"
_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_LOOP: Final = 3  # restarts
_YOUNG: Final = 120.0  # seconds


def check_restarts(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Read the state of the stack on this machine that uses the same database; other machines have supervisors of their own."""
    try:
        from ops.stack.places import default_data_dir  # noqa: PLC0415  # of the local stack, whose packages an image lacks
        from ops.stack.state import StateFile  # noqa: PLC0415  # same
    except ImportError:
        return
    data_dir = Path(environ.get("TALLYHOOK_DATA_DIR") or default_data_dir(_CHECKOUT))
    state = StateFile(data_dir).read()
    if not state.running or state.environment.get("DATABASE_URL") != environ.get("DATABASE_URL"):
        return
    found = [finding for process in state.processes for finding in _look(process, time.time())]
    yield from found or [
        ok(AREA, f"all {len(state.processes)} processes of the stack on {data_dir} are ready, and none was restarted")
    ]


def _look(process: ProcessState, now: float) -> Iterator[Finding]:
    text = f"{process.name} has been started again {process.restarts} times and is {process.state}"
    act = f"its log has the cause: {process.log}"
    young = process.pid is not None and now - process.born < _YOUNG
    if process.state in ("restarting", "hung") or (process.restarts >= _LOOP and (process.state != "ready" or young)):
        yield fail(AREA, text, act, "process-down")
    elif process.restarts or process.state != "ready":
        yield warn(AREA, text, act, "process-down")
