"""The distribution of the tests over processes."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sharing import APART, LONGEST, in_order, part_of

CHECKOUT = Path(__file__).parents[2]


def test_every_part_that_is_named_exists() -> None:
    assert [part for part in (*LONGEST, *APART) if not (CHECKOUT / part).exists()] == []


def test_files_of_the_one_system_are_one_part_and_every_other_file_is_its_own() -> None:
    assert part_of("tests/e2e/test_cache.py::test_it[a::b]") == "tests/e2e"
    assert part_of("tests/e2e/test_readme.py::test_it") == "tests/e2e/test_readme.py"
    assert part_of("tests/unit/test_sharing.py::test_it") == "tests/unit/test_sharing.py"


def test_a_file_that_empties_the_servers_is_no_part_of_the_one_system() -> None:
    emptying = {
        file for file in CHECKOUT.glob("tests/e2e/test_*.py") if re.search(r"\bempty_stack\b|\.emptied\(", file.read_text())
    }
    assert emptying <= {CHECKOUT / part for part in APART}


def test_long_parts_come_first_and_waiting_ones_are_spread_among_computing_ones() -> None:
    computing = [f"tests/unit/test_{number}.py" for number in range(6)]
    waiting = ["tests/faults/test_alerts.py", "tests/faults/test_kills.py", "tests/e2e"]
    found = in_order([*computing, *waiting])
    assert sorted(found) == sorted([*computing, *waiting])
    assert [found.index(part) for part in ("tests/e2e", "tests/faults/test_kills.py", "tests/faults/test_alerts.py")] == [
        0,
        3,
        6,
    ]
