"""Figures: a measured value, its spread and its aim; the scale of a run, and the reasons why a run is void."""

from __future__ import annotations

import statistics
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence


class Void(Exception):
    """The output does not match the input: the figures of this run mean nothing."""

    reason = "run_void"


class Aim(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value that a figure should reach, or stay within."""

    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f"≥ {self.at_least:,g}" if self.at_least is not None else f"≤ {self.at_most:,g}"


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One number; for several rounds it is their median, and `low` and `high` are their range."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    aim: Aim | None = None

    @property
    def met(self) -> bool | None:
        return None if self.aim is None else self.aim.met_by(self.value)


class Turn(msgspec.Struct, frozen=True):
    """One figure of this release and of the last, and their ratio, which is None if the last had 0."""

    now: Figure
    before: Figure
    ratio: Figure | None


class Result(msgspec.Struct):
    """The result of one benchmark; if `void` has a reason, its figures do not count. `turns` compare two releases."""

    benchmark: str
    figures: list[Figure] = []
    notes: list[str] = []
    void: list[str] = []
    turns: list[Turn] = []


def median(name: str, values: Sequence[float], unit: str, aim: Aim | None = None) -> Figure:
    """Return the figure of several rounds."""
    spread = (min(values), max(values)) if len(values) > 1 else (None, None)
    return Figure(name, statistics.median(values), unit, *spread, aim)


def ratio(name: str, above: Sequence[float], below: Sequence[float], aim: Aim | None = None) -> Figure:
    """Return the median of one side over the median of the other; the range is that of the pairs of each round."""
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    spread = (min(pairs), max(pairs)) if len(pairs) > 1 else (None, None)
    return Figure(name, statistics.median(above) / statistics.median(below), "x", *spread, aim)


def percentiles(name: str, seconds: Sequence[float], p50: Aim | None = None, p99: Aim | None = None) -> list[Figure]:
    """Return the p50, the p99 and the maximum of many latencies, in milliseconds."""
    ordered = sorted(seconds)
    return [
        Figure(f"{name} p50", percentile(ordered, 0.50) * 1000, "ms", aim=p50),
        Figure(f"{name} p99", percentile(ordered, 0.99) * 1000, "ms", aim=p99),
        Figure(f"{name} max", ordered[-1] * 1000, "ms"),
    ]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which this share of the ascending values is (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def expect(what: str, found: int, wanted: int) -> None:
    """Raise Void unless the found number is the wanted number."""
    if found != wanted:
        raise Void(f"{what}: {found:,} where {wanted:,} went in")


@dataclass(frozen=True)
class Scale:
    """The rounds of each figure, and the share of the full counts and times in a round."""

    rounds: int = 3
    share: float = 1.0
    with_peer: bool = True

    def count(self, whole: int) -> int:
        return max(1, round(whole * self.share))

    def seconds(self, whole: float) -> float:
        """Return at least two seconds: pgbench and wrk count whole seconds."""
        return max(2.0, round(whole * self.share))


MIB = 1024 * 1024


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of the process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def cpu_seconds_of_all(pid: int) -> float:
    """Return the user and system time of a process and its children, ended ones included; servers have child processes."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    ended = float(times.children_user + times.children_system)
    found = cpu_seconds(pid) + ended
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            found += cpu_seconds(child.pid)
    return found


def memory(pid: int) -> float:
    """Return the memory of the process in MiB, with its share of memory that other processes use too (the kernel's PSS)."""
    return float(psutil.Process(pid).memory_full_info().pss) / MIB


def peak_memory(pid: int) -> float:
    """Return the peak of the resident memory, in MiB (the kernel's VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MIB
    raise LookupError(f"the kernel reports no peak memory of process {pid}")
