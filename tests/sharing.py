"""Distributes the tests over processes: tests that share servers stay together, and no long test starts last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

# Whole systems wait for most of their time, the other tests compute for most of theirs.
SYSTEMS: Final = ("tests/e2e", "tests/faults")
ONE_SYSTEM: Final = "tests/e2e"
"""A folder whose files share one running system, except those that start their own."""
APART: Final = (
    *("tests/e2e/test_readme.py", "tests/e2e/test_pgbouncer.py", "tests/e2e/test_third_provider.py"),
    "tests/e2e/test_kafka_rights.py",
)
"""Further files: they empty the servers, which ends the shared system."""
LONGEST: Final = (
    "tests/e2e",
    "tests/e2e/test_readme.py",
    "tests/e2e/test_kafka_rights.py",
    "tests/faults/test_kills.py",
    "tests/faults/test_rolling_upgrade.py",
    "tests/faults/test_broker_loss.py",
    "tests/faults/test_clocks.py",
    "tests/faults/test_freeze.py",
    "tests/faults/test_memory.py",
    "tests/faults/test_roles_together.py",
    "tests/faults/test_lead_kills.py",
    "tests/faults/test_secrecy.py",
    "tests/faults/test_cut_link.py",
    "tests/faults/test_notifications.py",
    "tests/faults/test_outages.py",
    "tests/faults/test_restore.py",
    "tests/faults/test_replays.py",
    "tests/faults/test_rebuild_page.py",
    "tests/faults/test_failover.py",
    "tests/faults/test_search_and_cache.py",
    "tests/integration/gateway/test_generated_clients.py",
    "tests/integration/ops/test_image.py",
    "tests/integration/gateway/test_contract.py",
)
"""The parts that take longest, in that order; all others are short."""


def part_of(nodeid: str) -> str:
    """The tests that run in one process, one after the other: a file, or the files of the one system."""
    file = nodeid.partition("::")[0]
    return ONE_SYSTEM if file.startswith(f"{ONE_SYSTEM}/") and file not in APART else file


def in_order(parts: Iterable[str]) -> list[str]:
    """Order the parts: the longest first, and those that mostly wait spread evenly among those that compute."""
    ranked = sorted(parts, key=lambda part: LONGEST.index(part) if part in LONGEST else len(LONGEST))
    waiting = [part for part in ranked if part.startswith(SYSTEMS)]
    computing = [part for part in ranked if not part.startswith(SYSTEMS)]
    return [part for _, part in sorted([*_spread(waiting), *_spread(computing)])]


def _spread(parts: Collection[str]) -> list[tuple[float, str]]:
    return [(number / len(parts), part) for number, part in enumerate(parts)]


class _Parts(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return part_of(nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {part: number for number, part in enumerate(in_order(dict.fromkeys(part_of(item.nodeid) for item in items)))}
    items.sort(key=lambda item: order[part_of(item.nodeid)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Parts | None:
    return _Parts(config, log) if config.getvalue("dist") == "loadfile" else None
