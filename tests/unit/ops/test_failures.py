"""The lines with which commands end."""

from __future__ import annotations

from psycopg.errors import CheckViolation, UndefinedTable

from operations.output import CommandError
from ops.commands.failures import text_of


def test_a_missing_day_is_named_with_its_remedy() -> None:
    text = text_of(CheckViolation('no partition of relation "audit_log" found for row'))
    assert text
    assert text.startswith("partition_missing: `tallyhook retention`")
    assert text_of(UndefinedTable("a\nb")) == "Postgres: a"


def test_an_answer_in_an_error_gives_a_terminal_no_orders() -> None:
    assert text_of(CommandError("crm_failing: (500 \x1b]0;title\x07)")) == "crm_failing: (500 \\x1b]0;title\\x07)"
