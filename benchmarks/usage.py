"""The processor time of a process, and the most memory that it ever held."""

from __future__ import annotations

from pathlib import Path

import psutil

MIB = 1024 * 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def peak_memory(pid: int) -> float:
    """The most resident memory so far, in MiB (the kernel's VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MIB
    raise LookupError(f"the kernel tells no peak of process {pid}")
