"""Every benchmark once, small: one that is void beside the others is run again alone, and counts as void only then."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

from benchmarks import small
from benchmarks.figures import Figure, Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

GOOD: Final = '{"results": [{"benchmark": "relay", "figures": [{"name": "drain", "value": 1, "unit": "x"}]}]}'
VOID: Final = '{"results": [{"benchmark": "relay", "void": ["rows: 2 where 1 went in"]}]}'
EMPTY: Final = '{"results": [{"benchmark": "relay"}]}'


def printing(monkeypatch: pytest.MonkeyPatch, *outputs: str) -> list[Sequence[str]]:
    """Have each run print the next of these outputs; return the list of commands that were run."""
    run: list[Sequence[str]] = []
    real, left = subprocess.Popen, list(outputs)

    def instead(command: Sequence[str], **options: Any) -> object:
        run.append(command)
        return real([sys.executable, "-c", f"import sys; sys.stderr.write('why'); print({left.pop(0)!r}, end='')"], **options)

    monkeypatch.setattr(subprocess, "Popen", instead)
    return run


def results(*names: str) -> list[Result]:
    return [*small.run_all(names, lambda *_: None)]


def test_each_is_run_once_with_two_rounds_of_a_hundredth(monkeypatch: pytest.MonkeyPatch) -> None:
    run = printing(monkeypatch, GOOD)
    assert results("relay") == [Result("relay", [Figure("drain", 1, "x")])]
    [command] = run
    assert [*command[3:]] == ["relay", "--rounds", "2", "--share", "0.01", "--no-peer", "--json"]


def test_a_void_benchmark_is_run_again_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    run = printing(monkeypatch, VOID, GOOD)
    [result] = results("relay")
    assert (len(run), result.void) == (2, [])


@pytest.mark.parametrize(
    ("output", "void"), [(VOID, "rows: 2 where 1 went in"), (EMPTY, "it measures nothing"), ("", "it failed: why")]
)
def test_a_benchmark_that_is_void_alone_too_is_void(monkeypatch: pytest.MonkeyPatch, output: str, void: str) -> None:
    printing(monkeypatch, output, output)
    assert [result.void for result in results("relay")] == [[void]]


def test_one_that_does_not_end_gets_a_sigterm_and_is_void(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It can end its own processes, since it is not killed."""
    ended = tmp_path / "ended"
    program = f"""
import pathlib, signal, sys
def end(*_):
    pathlib.Path({str(ended)!r}).write_text("in order")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("ready", file=sys.stderr, flush=True)
signal.pause()
"""
    real = subprocess.Popen

    def instead(_: Sequence[str], **options: Any) -> object:
        process = real([sys.executable, "-c", program], **options)
        assert process.stderr.readline() == "ready\n"
        return process

    monkeypatch.setattr(subprocess, "Popen", instead)
    monkeypatch.setattr(small, "_LIMIT", 0.1)
    assert [result.void for result in results("relay")] == [["it took longer than 0 s"]]
    assert ended.read_text() == "in order"
