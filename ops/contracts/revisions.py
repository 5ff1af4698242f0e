"""
The chain of migrations is one line: each number is taken once, and each file continues the one before it.

`python -m ops.contracts.revisions` prints the faults. Two branches that were written side by side may have taken the same
number; Alembic would only warn of it, and run one of the two.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(migrations.__file__).with_name("versions")
_NAME: Final = re.compile(r"(\d{4})_(expand|contract)_\w+\.py")


def faults_of(folder: Path) -> Iterator[str]:
    """Yield a line for each file that breaks the chain."""
    before: str | None = None
    for expected, file in enumerate(_in_order(folder), start=1):
        named, number = _NAME.fullmatch(file.name), f"{expected:04}"
        if named is None:
            yield f"{file.name}: is not named NNNN_expand_<what>.py or NNNN_contract_<what>.py"
            continue
        if named[1] != number:
            yield f"{file.name}: its number is taken or leaves a gap, the next one is {number}"
            return
        constants = _assigned(file)
        if constants.get("revision") != number:
            yield f"{file.name}: its revision is {constants.get('revision')!r} instead of {number!r}"
        if constants.get("down_revision", "none") != before:
            yield f"{file.name}: its down_revision is {constants.get('down_revision')!r} instead of {before!r}"
        before = number


def _in_order(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")


def _assigned(file: Path) -> dict[str, object]:
    """Return the constants of the module by name, without running it."""
    return {
        target.id: statement.value.value
        for statement in ast.parse(file.read_text()).body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def main() -> int:
    faults = list(faults_of(FOLDER))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
