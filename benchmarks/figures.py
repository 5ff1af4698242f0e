"""Figures: what was measured, how far it spread, what it should be; the scale of a run, and why one does not count."""

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
    """The output is not the input: the figures of this run mean nothing."""

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
    """One number; with several rounds it is their median, and `low` and `high` are their range."""

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
    """One figure of this release and of the last, and their ratio, which there is none of where the last had 0."""

    now: Figure
    before: Figure
    ratio: Figure | None


class Result(msgspec.Struct):
    """The result of one benchmark; with anything in `void` its figures do not count. `turns` are those of two releases."""

    benchmark: str
    figures: list[Figure] = []
    notes: list[str] = []
    void: list[str] = []
    turns: list[Turn] = []


def median(name: str, values: Sequence[float], unit: str, aim: Aim | None = None) -> Figure:
    """The figure of several rounds."""
    spread = (min(values), max(values)) if len(values) > 1 else (None, None)
    return Figure(name, statistics.median(values), unit, *spread, aim)


def ratio(name: str, above: Sequence[float], below: Sequence[float], aim: Aim | None = None) -> Figure:
    """The median of one side over the median of the other; the range is that of the pairs measured side by side."""
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    spread = (min(pairs), max(pairs)) if len(pairs) > 1 else (None, None)
    return Figure(name, statistics.median(above) / statistics.median(below), "x", *spread, aim)


def percentiles(name: str, seconds: Sequence[float], p50: Aim | None = None, p99: Aim | None = None) -> list[Figure]:
    """Middle, tail and worst of many latencies, in milliseconds."""
    ordered = sorted(seconds)
    return [
        Figure(f"{name} p50", percentile(ordered, 0.50) * 1000, "ms", aim=p50),
        Figure(f"{name} p99", percentile(ordered, 0.99) * 1000, "ms", aim=p99),
        Figure(f"{name} max", ordered[-1] * 1000, "ms"),
    ]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of the ascending values lies (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def expect(what: str, found: int, wanted: int) -> None:
    """Raise Void unless as many came out as went in."""
    if found != wanted:
        raise Void(f"{what}: {found:,} where {wanted:,} went in")


@dataclass(frozen=True)
class Scale:
    """Rounds a figure, and the share of counts and times that a round takes."""

    rounds: int = 3
    share: float = 1.0
    with_peer: bool = True

    def count(self, whole: int) -> int:
        return max(1, round(whole * self.share))

    def seconds(self, whole: float) -> float:
        """At least two: pgbench and wrk count whole seconds."""
        return max(2.0, round(whole * self.share))


MIB = 1024 * 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def cpu_seconds_of_all(pid: int) -> float:
    """User and system time of a process and its children, ended ones included; a server's own processes are its children."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    ended = float(times.children_user + times.children_system)
    found = cpu_seconds(pid) + ended
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            found += cpu_seconds(child.pid)
    return found


def memory(pid: int) -> float:
    """The memory of the process in MiB, where what it shares with others counts in shares (the kernel's PSS)."""
    return float(psutil.Process(pid).memory_full_info().pss) / MIB


def peak_memory(pid: int) -> float:
    """The most resident memory so far, in MiB (the kernel's VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MIB
    raise LookupError(f"the kernel tells no peak of process {pid}")
