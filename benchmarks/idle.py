"""Processor time and memory of all processes while no event comes, and the duration of `tallyhook --help`."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.figures import Aim, Figure, Result, cpu_seconds_of_all, median, memory
from benchmarks.system import measured, system
from ops.dev.processes import SPLIT, TALLYHOOK, TOGETHER
from schemas.topology import process_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Scale
    from benchmarks.system import Report, Roles, Running, System

SECONDS: Final = 60.0
_SETTLE: Final = 30.0
"""Seconds until a process is idle: its first polls, its garbage collection and the rebalances of its groups are done."""
_SERVERS: Final = ("postgres", "kafka", "redis", "elasticsearch")
_OURS: Final = Aim(at_most=2)  # % of a core
_KAFKA: Final = Aim(at_most=3)  # % of a core
_ALL: Final = Aim(at_most=500)  # MiB
_ALONE: Final = Aim(at_most=90)  # MiB
_HELP: Final = Aim(at_most=0.3)  # seconds


class _Rest(NamedTuple):
    """The share of a core in %, and the memory in MiB, by process."""

    shares: dict[str, float]
    memory: dict[str, float]


def run(scale: Scale, report: Report) -> Result:
    seconds = scale.seconds(SECONDS)
    figures: list[Figure] = []
    if measured() == TALLYHOOK:  # v0.1.0 has a process for each role only
        with system(*_SERVERS, report=report, workers=TOGETHER) as ours:
            report("idle", "one process for all roles")
            figures += _together(ours, seconds, scale)
    with system(*_SERVERS, report=report, workers=SPLIT) as ours:
        report("idle", "a process for each role")
        figures += _split(ours, seconds, scale)
    figures.append(median("tallyhook --help", [_help() for _ in range(scale.rounds)], "s", _HELP))
    return Result("idle", figures, [f"{seconds:g} s a round, after {scale.seconds(_SETTLE):g} s until all processes are idle"])


def _together(ours: System, seconds: float, scale: Scale) -> list[Figure]:
    rest = _at_rest(ours, TOGETHER, seconds, scale)
    return [
        Figure("all processes of `./dev up`", _ours_of(rest), "% of a core", aim=_OURS),
        *_shares(rest, ""),
        Figure("memory of all processes", sum(rest.memory.values()), "MiB", aim=_ALL),
        *(Figure(f"memory: {name}", value, "MiB") for name, value in rest.memory.items()),
    ]


def _split(ours: System, seconds: float, scale: Scale) -> list[Figure]:
    rest = _at_rest(ours, SPLIT, seconds, scale)
    workers = {name: value for name, value in rest.memory.items() if name.startswith("worker")}
    return [
        Figure("split: all processes", _ours_of(rest), "% of a core"),
        *_shares(rest, "split: "),
        Figure("split: memory of all processes", sum(rest.memory.values()), "MiB"),
        *(Figure(f"split: memory: {name}", value, "MiB", aim=_ALONE) for name, value in workers.items()),
    ]


def _ours_of(rest: _Rest) -> float:
    return sum(share for name, share in rest.shares.items() if name not in _SERVERS)


def _shares(rest: _Rest, prefix: str) -> list[Figure]:
    return [
        Figure(f"{prefix}{name}", value, "% of a core", aim=_KAFKA if name == "kafka" else None)
        for name, value in rest.shares.items()
    ]


def _at_rest(ours: System, workers: Roles, seconds: float, scale: Scale) -> _Rest:
    with ours.running("relay", *(process_of(roles) for roles in workers), "gateway") as processes:
        time.sleep(scale.seconds(_SETTLE))
        pids = _pids(ours, processes)
        before, started = {name: cpu_seconds_of_all(pid) for name, pid in pids.items()}, time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - started
        shares = {name: (cpu_seconds_of_all(pid) - before[name]) / took * 100 for name, pid in pids.items()}
        return _Rest(shares, {process.name: memory(process.pid) for process in processes})


def _pids(ours: System, processes: Sequence[Running]) -> dict[str, int]:
    servers = {server.name: server.pid for server in ours.stack.servers if server.pid}
    return {process.name: process.pid for process in processes} | servers


def _help() -> float:
    started = time.monotonic()
    subprocess.run([measured(), "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started
