"""The capacity model: its page has what it reckons today, and it reckons in the right direction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from benchmarks import capacity
from benchmarks.capacity import Costs

if TYPE_CHECKING:
    from pathlib import Path

_COSTS: Final = Costs(
    {"gateway": 0.14, "relay": 0.07, "worker-payments": 0.35, "worker-notifications": 0.7, "postgres": 0.7, "kafka": 0.14},
    wal=10.0,
    topics=5.0,
)


def test_the_page_has_the_tables_of_the_measured_costs() -> None:
    assert capacity.written() == capacity.tables(capacity.measured())


def test_the_page_says_that_figures_of_a_busy_machine_do_not_count(tmp_path: Path) -> None:
    kept = json.loads(capacity.MEASURED.read_text())
    for load, share, counts in ((0.1, 1, True), (4.0, 1, False), (0.1, 0.2, False)):
        kept["share"], kept["machine"]["load"] = share, load
        path = tmp_path / "whole.json"
        path.write_text(json.dumps(kept))
        assert ("do not rely" not in capacity.tables(capacity.measured(path))) is counts


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
