"""One base for every failure that has a reason."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path
from typing import Final

import pytest

from ops import cli
from runtime.errors import Failure, Reason

ROOT: Final = Path(__file__).parents[3]
PACKAGES: Final = (
    "runtime",
    "schemas",
    "outbox",
    "projections",
    "topology",
    "gateway",
    "streams",
    "operations",
    "console",
    "ops",
)


BUILT_IN: Final = {name for name, found in vars(builtins).items() if isinstance(found, type) and issubclass(found, Exception)}


def _roots_with_a_reason(path: Path) -> list[str]:
    """The exceptions of a module that derive from Python's own and have a reason."""
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    roots = [node for node in classes if {ast.unparse(base) for base in node.bases} & BUILT_IN]
    return [f"{path}: {node.name}" for node in roots if re.search(r"\breason\b *[:=]", ast.unparse(node))]


def test_no_other_exception_has_a_reason_of_its_own() -> None:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [each for path in paths for each in _roots_with_a_reason(path)] == [f"{ROOT}/runtime/errors.py: Failure"]


def test_the_command_line_prints_the_reason_and_the_detail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise Failure(Reason.LEASE_LOST, "the session was silent")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err == "tallyhook: lease_lost: the session was silent\n"
