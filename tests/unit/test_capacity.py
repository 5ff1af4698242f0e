"""Saved figures and the capacity model: its page has the current results, and more load needs more capacity."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

import psutil
import psycopg
import pytest
import requests
from msgspec.structs import replace
from typer.testing import CliRunner

from benchmarks import capacity, saved
from benchmarks.__main__ import Name, app
from benchmarks.capacity import Costs
from benchmarks.figures import Result, Void, cpu_seconds_of_all
from benchmarks.other_process import Work, WorkFailed, in_other_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_COSTS: Final = Costs(
    {"gateway": 0.14, "relay": 0.07, "worker-payments": 0.35, "worker-notifications": 0.7, "postgres": 0.7, "kafka": 0.14},
    wal=10.0,
    topics=5.0,
)


def test_the_page_has_the_tables_of_the_measured_costs() -> None:
    assert capacity.tables_on_page() == capacity.tables(capacity.measured_costs())


@pytest.mark.parametrize(("load", "share", "counts"), [(0.1, 1, True), (4.0, 1, False), (0.1, 0.1, False)])
def test_the_page_states_that_figures_of_a_busy_machine_do_not_count(load: float, share: float, counts: bool) -> None:
    run = saved.load("whole")
    assert run is not None
    changed = replace(run, share=share, machine=replace(run.machine, load=load))
    assert ("do not rely" not in capacity.tables(capacity.measured_costs(changed))) is counts


def test_the_readme_has_the_figures_that_are_kept() -> None:
    assert saved.figures_in_readme() == saved.tables(Name)


def test_processes_are_so_many_that_each_uses_seven_tenths_of_a_core() -> None:
    assert capacity.processes(_COSTS, "gateway", 5_000) == 1
    assert capacity.processes(_COSTS, "gateway", 5_001) == 2
    assert capacity.processes(_COSTS, "worker-payments", 100_000) == 50


def test_a_topic_has_a_partition_for_each_worker_and_never_fewer_than_today() -> None:
    assert [capacity.partitions(_COSTS, rate) for rate in (1_000, 100_000)] == [8, 50]


def test_primaries_are_bound_by_cores_or_by_the_log_whichever_ends_first() -> None:
    assert capacity.primaries(_COSTS, 30_000) == 2  # 15,000 by the log, 16,000 by the cores
    assert capacity.primaries(_COSTS._replace(wal=1.0), 32_000) == 2
    assert capacity.brokers(_COSTS, 1_000) == 3


def test_the_limits_come_in_their_order() -> None:
    rates = [each.rate for each in capacity.limits(_COSTS)]
    assert rates == sorted(rates)
    assert capacity.limits(_COSTS)[0].what == "one notifications worker"


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Copies of the files that `--write` writes."""
    for module, name in ((saved, "RESULTS"), (saved, "README"), (capacity, "PAGE")):
        place = getattr(module, name)
        copy = tmp_path / place.name
        shutil.copytree(place, copy) if place.is_dir() else shutil.copy(place, copy)
        monkeypatch.setattr(module, name, copy)
    return tmp_path


def _bench(monkeypatch: pytest.MonkeyPatch, run: Callable[[], Result], *words: str) -> int:
    """Run the command line with `whole` replaced; return the exit code."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those of the tests' own process stay
    monkeypatch.setattr("benchmarks.__main__.import_module", lambda _: SimpleNamespace(run=lambda *_: run()))
    return CliRunner().invoke(app, ["whole", "--json", "--write", *words], catch_exceptions=False).exit_code


def _measured() -> Result:
    run = saved.load("whole")
    assert run is not None
    [result] = run.results
    return Result("whole", [replace(figure, value=figure.value * 2) for figure in result.figures])


@pytest.mark.usefixtures("places")
def test_costs_that_are_kept_go_into_the_page_of_the_model_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = capacity.tables_on_page()
    assert _bench(monkeypatch, _measured) == 0
    assert capacity.tables_on_page() == capacity.tables(capacity.measured_costs()) != before
    assert saved.figures_in_readme() == saved.tables(Name)


@pytest.mark.parametrize("error", [Void("lost"), WorkFailed("ended"), psycopg.OperationalError("gone"), requests.Timeout()])
def test_a_benchmark_that_fails_is_void_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, places: Path, error: Exception
) -> None:
    def fail() -> Result:
        raise error

    before = {path: path.read_bytes() for path in places.rglob("*.*")}
    assert _bench(monkeypatch, fail) == 1
    assert {path: path.read_bytes() for path in places.rglob("*.*")} == before


def test_a_small_run_keeps_nothing(monkeypatch: pytest.MonkeyPatch, places: Path) -> None:
    before = {path: path.read_bytes() for path in places.rglob("*.*")}
    assert _bench(monkeypatch, _measured, "--small") == 0
    assert {path: path.read_bytes() for path in places.rglob("*.*")} == before


def test_a_load_that_ends_by_itself_is_noticed() -> None:
    with in_other_process(max, 1, 2) as outcome_within, pytest.raises(WorkFailed, match="ended before"):
        _check_for(outcome_within, 60)


def _check_for(work: Work[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        work.check()
        time.sleep(0.01)


def test_a_child_that_has_ended_adds_no_more_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [SimpleNamespace(pid=gone.pid)])
    assert cpu_seconds_of_all(os.getpid()) > 0
