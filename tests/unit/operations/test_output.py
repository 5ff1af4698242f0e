"""The output of commands for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from operations.output import show

if TYPE_CHECKING:
    import pytest

SENT = "a\x1b]0;title\x07 b\rc\x9bd\x00 é 例\x7f"


def test_what_others_have_sent_gives_a_terminal_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    show({}, f"{SENT}\n\tnext\ud800", as_json=False)
    assert capsys.readouterr().out == "a\\x1b]0;title\\x07 b\\x0dc\\x9bd\\x00 é 例\\x7f\n\tnext\\ud800\n"


def test_programs_get_it_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show({"sent": SENT}, "", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"sent": SENT}
