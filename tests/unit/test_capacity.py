"""Kept figures and the capacity model: its page has what it reckons today, and it reckons in the right direction."""

from __future__ import annotations

from typing import Final

import pytest
from msgspec.structs import replace

from benchmarks import capacity, kept
from benchmarks.__main__ import Name
from benchmarks.capacity import Costs

_COSTS: Final = Costs(
    {"gateway": 0.14, "relay": 0.07, "worker-payments": 0.35, "worker-notifications": 0.7, "postgres": 0.7, "kafka": 0.14},
    wal=10.0,
    topics=5.0,
)


def test_the_page_has_the_tables_of_the_measured_costs() -> None:
    assert capacity.written() == capacity.tables(capacity.measured())


@pytest.mark.parametrize(("load", "share", "counts"), [(0.1, 1, True), (4.0, 1, False), (0.1, 0.1, False)])
def test_the_page_says_that_figures_of_a_busy_machine_do_not_count(load: float, share: float, counts: bool) -> None:
    run = kept.kept("whole")
    assert run is not None
    changed = replace(run, share=share, machine=replace(run.machine, load=load))
    assert ("do not rely" not in capacity.tables(capacity.measured(changed))) is counts


def test_the_readme_has_the_figures_that_are_kept() -> None:
    assert kept.written() == kept.tables(Name)


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
