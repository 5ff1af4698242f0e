"""The doctor reports which secrets changed in which processes, and which last file was refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ops.doctor.secret_changes import findings_of
from outbox.secret_changes import SecretChange

NOON: Final = datetime(2026, 11, 27, 12, tzinfo=UTC)


def change(minutes: int, process: str, **fields: Any) -> SecretChange:
    made = {"setting": "ADMIN_API_TOKEN", "ids": ["0a1b2c3d"], "outcome": "taken"} | fields
    return SecretChange(at=NOON + timedelta(minutes=minutes), process=process, **made)


def test_processes_that_took_the_same_are_one_line() -> None:
    found = list(findings_of([change(2, "gateway 2 on b"), change(1, "gateway 1 on a")]))
    assert [(each.level, each.text) for each in found] == [
        ("ok", "ADMIN_API_TOKEN changed to 0a1b2c3d, last at 12:02:00 UTC, in 2 processes")
    ]


def test_the_last_word_of_a_process_counts() -> None:
    refused = change(1, "gateway 1 on a", ids=[], outcome="refused")
    assert [each.level for each in findings_of([change(2, "gateway 1 on a"), refused])] == ["ok"]
    [found] = findings_of([refused, change(0, "gateway 1 on a")])
    assert (found.level, found.runbook) == ("warn", "runbooks/rotate-secrets.md")
    assert found.text.startswith("gateway 1 on a refused the file of ADMIN_API_TOKEN at 12:01:00 UTC")
