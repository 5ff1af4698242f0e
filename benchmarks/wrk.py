"""`wrk` as the load where it is installed: it leaves more of the cores to what is measured than any Python client."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.beside import WorkFailed

if TYPE_CHECKING:
    from benchmarks.load import Plan

_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


class Seen(msgspec.Struct, frozen=True):
    """The counts of wrk; times in microseconds. At its end it drops the requests that are under way, which may still commit."""

    requests: int
    microseconds: int
    failed: int
    refused: int
    p50: int
    p99: int
    longest: int

    @property
    def rate(self) -> float:
        return (self.requests - self.refused) / self.microseconds * 1_000_000


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def send(plan: Plan) -> Seen:
    """Closed loop for the plan's seconds, on one thread."""
    host, port = plan.address
    words = ["-t1", f"-c{plan.connections}", f"-d{plan.seconds:.0f}s", "--timeout", "30s", "-s", str(_SCRIPT)]
    done = subprocess.run(
        [shutil.which("wrk") or "wrk", *words, f"http://{host}:{port}", "--", str(plan.requests)],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not last.startswith("{"):
        raise WorkFailed(f"wrk: {(done.stderr or done.stdout).strip()[-500:]}")
    return msgspec.json.decode(last, type=Seen)
