"""Every reason of a dead letter has its fault, and a page that describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from operations.dead_letters.causes import CAUSES, THEIRS, cause_of
from operations.dead_letters.store import DeadLetter
from schemas.errors import Reason
from schemas.leads import EXHAUSTED, REJECTED
from streams.errors import FetchReason, PoisonReason

ROOT: Final = Path(__file__).parents[3]
CODE: Final = "\n".join(path.read_text() for package in ("streams", "schemas") for path in sorted((ROOT / package).rglob("*.py")))
# Poison accepts only these, which mypy checks.
RAISED: Final = (*PoisonReason, *FetchReason, *Reason)


def test_every_reason_that_a_worker_can_raise_has_a_cause_and_no_other_has() -> None:
    assert CAUSES.keys() == {*RAISED, EXHAUSTED, REJECTED}


def test_every_reason_is_raised_somewhere() -> None:
    assert [reason for reason in RAISED if f"Reason.{reason.name}" not in CODE] == []


@pytest.mark.parametrize("reason", CAUSES)
def test_the_page_of_a_reason_names_it_and_its_fault(reason: str) -> None:
    page = (ROOT / CAUSES[reason].runbook).read_text()
    assert f"`{reason}`" in page
    rows = [line for line in (ROOT / "runbooks/dead-letters.md").read_text().splitlines() if f"`{reason}`" in line]
    assert any(f"| {CAUSES[reason].fault} |" in row for row in rows)
    assert f"`{reason}`" in (ROOT / "runbooks/README.md").read_text()


def test_an_undeclared_reason_is_our_fault() -> None:
    assert cause_of("never_heard_of").fault == "ours"
    assert set(THEIRS) < set(CAUSES)
    assert "fault" in DeadLetter.__struct_fields__
