"""The chain of migrations: a number that is taken, a gap, a fork and a wrong name are reported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.contracts.revisions import FOLDER, faults_of

if TYPE_CHECKING:
    from collections.abc import Callable


def number_is_taken_twice(last: Path) -> None:
    shutil.copy(last, last.with_name(f"{last.name[:4]}_expand_zebra.py"))


def number_is_left_out(last: Path) -> None:
    last.rename(last.with_name(f"{int(last.name[:4]) + 1:04}_expand_zebra.py"))


def revision_is_not_the_number(last: Path) -> None:
    last.write_text(last.read_text().replace(f'revision = "{last.name[:4]}"', 'revision = "9999"'))


def chain_forks(last: Path) -> None:
    before = f"{int(last.name[:4]) - 1:04}"
    last.write_text(last.read_text().replace(f'down_revision = "{before}"', 'down_revision = "0001"'))


def kind_is_not_named(last: Path) -> None:
    last.rename(last.with_name(f"{last.name[:4]}_zebra.py"))


def test_the_chain_is_one_line_numbered_as_its_files_are() -> None:
    assert list(faults_of(FOLDER)) == []


@pytest.mark.parametrize(
    "damage",
    [number_is_taken_twice, number_is_left_out, revision_is_not_the_number, chain_forks, kind_is_not_named],
    ids=lambda damage: damage.__name__,
)
def test_a_migration_that_does_not_continue_the_last_one_is_reported(damage: Callable[[Path], None], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(FOLDER, tmp_path / "versions", ignore=shutil.ignore_patterns("__pycache__")))
    damage(max(copy.glob("*.py")))
    [fault] = faults_of(copy)
    assert fault.startswith(max(file.name for file in copy.glob("*.py")))
