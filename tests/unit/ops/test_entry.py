"""The start of a command and of a process costs little."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LOADED = """
import sys
from pkgutil import resolve_name
for name in sys.argv[1:]:
    resolve_name(name)
print(*sorted({"sqlalchemy"} & {*sys.modules}))
"""


@pytest.mark.parametrize(
    "modules",
    [
        ("ops.cli", "ops.settings.review", "ops.processes.relay", "ops.processes.forgetting"),
        ("ops.cli", "ops.processes.worker", "streams.alerts.handler", "streams.notifications.handler", "streams.search.handler"),
    ],
    ids=["relay", "worker"],
)
def test_who_asks_by_plain_sql_does_not_load_the_declarations_of_tables(modules: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED, *modules], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
