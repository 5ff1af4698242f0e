"""Every benchmark once, small and several at a time: whether each of them runs to its end, not what it measures."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.beside import WorkFailed
from benchmarks.figures import Result, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SMALL: Final = Scale(rounds=2, share=0.01, with_peer=False)
"""Two rounds: what the first leaves behind is what the second begins with."""
_AT_ONCE: Final = 2 * (os.cpu_count() or 1)
"""A small one mostly waits: for servers that start, groups that form, moments of a grid."""
_LIMIT: Final = 600.0  # seconds for one of them


class _Report(msgspec.Struct):
    results: list[Result]


def run_all(names: Sequence[str], report: Callable[[str, str], None]) -> Iterator[Result]:
    """Yield the result of each as it ends. Raises WorkFailed for one that fails, or that measures nothing."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        runs = {pool.submit(_run, name): name for name in names}
        try:
            for run in as_completed(runs):
                seconds, result = run.result()
                report(runs[run], f"{seconds:.0f} s, {len(result.figures)} figures")
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


def _run(name: str) -> tuple[float, Result]:
    """Seconds and result of one, in a process group of ours, so that Ctrl-C reaches its servers."""
    scale = ["--rounds", str(SMALL.rounds), "--share", str(SMALL.share), "--no-peer"]
    started = time.monotonic()
    command = [sys.executable, "-m", "benchmarks", name, *scale, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT)
    except subprocess.TimeoutExpired:
        raise WorkFailed(f"{name} took longer than {_LIMIT:.0f} s") from None
    if not done.stdout:
        raise WorkFailed(f"{name}: {done.stderr.strip()[-1000:]}")
    [result] = msgspec.json.decode(done.stdout, type=_Report).results
    if not (result.figures or result.void):
        raise WorkFailed(f"{name} measures nothing")
    return time.monotonic() - started, result
