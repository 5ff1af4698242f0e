"""The lines with which commands end."""

from __future__ import annotations

from psycopg.errors import CheckViolation, UndefinedTable

from ops.commands.failures import text_of


def test_a_missing_day_is_named_with_its_remedy() -> None:
    text = text_of(CheckViolation('no partition of relation "audit_log" found for row'))
    assert text
    assert text.startswith("partition_missing: `tallyhook retention`")
    assert text_of(UndefinedTable("a\nb")) == "Postgres: a"
