"""The output of commands for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from operations.output import postponing, show

if TYPE_CHECKING:
    import pytest

SENT = "a\x1b]0;title\x07 b\rc\x9bd\x00 é 例\x7f"


def test_what_others_have_sent_gives_a_terminal_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    show({}, f"{SENT}\n\tnext\ud800", as_json=False)
    assert capsys.readouterr().out == "a\\x1b]0;title\\x07 b\\x0dc\\x9bd\\x00 é 例\\x7f\n\tnext\\ud800\n"


def test_programs_get_it_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show({"sent": SENT}, "", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"sent": SENT}


def test_each_error_for_which_a_command_waits_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[dict[str, str]] = []
    postponed = postponing(lambda **values: shown.append(values))
    for error in (f"\n{SENT}\nDETAIL: b", SENT, "other"):
        postponed("postgres_refuses", error)
    end = "(repeated until it succeeds; Ctrl-C ends the command)"
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"waiting: postgres_refuses: a\\x1b]0;title\\x07 b\\x0dc\\x9bd\\x00 é 例\\x7f {end}"
    assert second == f"waiting: postgres_refuses: other {end}"
    assert shown == [{"description": "waiting: postgres_refuses"}] * 3
