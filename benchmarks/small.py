"""Runs every benchmark once, small and several at a time, to check that each runs to its end; its figures do not count."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.figures import Result, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SMALL: Final = Scale(rounds=2, share=0.01, with_peer=False)
"""Two rounds, since the second round begins with the state that the first leaves."""
_AT_ONCE: Final = 2 * (os.cpu_count() or 1)
"""More than the cores: a small benchmark mostly waits for servers, consumer groups and its time grid."""
_LIMIT: Final = 600.0  # seconds for one of them
_END_LIMIT: Final = 60.0  # seconds


class _Report(msgspec.Struct):
    results: list[Result]


def run_all(names: Sequence[str], report: Callable[[str, str], None]) -> Iterator[Result]:
    """Yield the result of each as it ends. A void one is run once more alone, since the others may have taken its time."""
    again: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        runs = {pool.submit(_run, name): name for name in reversed(names)}  # the longest, which are last, start first
        try:
            for run in as_completed(runs):
                seconds, result = run.result()
                if result.void:
                    again.append(runs[run])
                    report(runs[run], f"void after {seconds:.0f} s, and will be run again alone: {result.void[0]}")
                else:
                    report(runs[run], f"{seconds:.0f} s, {len(result.figures)} figures")
                    yield result
        finally:
            pool.shutdown(cancel_futures=True)
    for name in again:
        seconds, result = _run(name)
        report(name, f"alone: {seconds:.0f} s, {len(result.figures)} figures")
        yield result


def _run(name: str) -> tuple[float, Result]:
    """Run one benchmark in our process group, so that Ctrl-C reaches its servers; returns its seconds and its result."""
    scale = ["--rounds", str(SMALL.rounds), "--share", str(SMALL.share), "--no-peer"]
    started = time.monotonic()
    command = [sys.executable, "-m", "benchmarks", name, *scale, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            output, errors = process.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            _end(process)
            return _LIMIT, Result(name, void=[f"it took longer than {_LIMIT:.0f} s"])
    return time.monotonic() - started, _result_of(name, output, errors)


def _end(process: subprocess.Popen[str]) -> None:
    """Terminate it, so that it stops its servers; kill it if it does not end."""
    process.terminate()
    try:
        process.communicate(timeout=_END_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()


def _result_of(name: str, output: str, errors: str) -> Result:
    if not output:
        return Result(name, void=[f"it failed: {errors.strip()[-1000:]}"])
    [result] = msgspec.json.decode(output, type=_Report).results
    return result if result.figures or result.void else Result(name, void=["it measures nothing"])
