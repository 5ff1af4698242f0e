"""Whoever looks at a dead letter learns whose fault it is, and finds it on the page that the reason names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, get_args

import pytest

from operations.dead_letters.causes import CAUSES, THEIRS, cause_of
from operations.dead_letters.listing import SetAsideSetAside
from streams.payments.fetching.api import Reason

ROOT: Final = Path(__file__).parents[3]
CODE: Final = "\n".join(
    path.read_text() for package in ("outbox", "streams", "schemas") for path in sorted((ROOT / package).rglob("*.py"))
)
# Templates are checked for commands by the gateway and the worker alike, so theirs may be a Poison's too.
RAISED: Final = {
    *re.findall(r"""(?:Poison|EnvelopeError|SchemaError|TemplateError)\(\s*"([a-z_]+)\"""", CODE),
    "event_outside_retention",
    *get_args(Reason),
}


def test_every_reason_that_a_worker_raises_is_declared() -> None:
    assert sorted(RAISED - CAUSES.keys()) == []


def test_nothing_is_declared_that_nobody_raises() -> None:
    assert sorted(CAUSES.keys() - RAISED - {"lead_delivery_exhausted", "lead_delivery_rejected"}) == []


@pytest.mark.parametrize("reason", CAUSES)
def test_the_page_of_a_reason_speaks_of_it_and_of_its_fault(reason: str) -> None:
    page = (ROOT / CAUSES[reason].runbook).read_text()
    assert f"`{reason}`" in page
    rows = [line for line in (ROOT / "runbooks/dead-letters.md").read_text().splitlines() if f"`{reason}`" in line]
    assert any(f"| {CAUSES[reason].fault} |" in row for row in rows)
    assert f"`{reason}`" in (ROOT / "runbooks/README.md").read_text()


def test_a_reason_that_nobody_declared_is_ours() -> None:
    assert cause_of("never_heard_of").fault == "ours"
    assert set(THEIRS) < set(CAUSES)
    assert "fault" in SetAsideSetAside.__struct_fields__
