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
print(*sorted({"sqlalchemy", "apprise", "jinja2"} & {*sys.modules}))
"""


@pytest.mark.parametrize(
    ("modules", "loaded"),
    [
        (("ops.cli", "ops.settings.review", "ops.processes.relay", "ops.processes.forgetting"), ""),
        (("ops.cli", "ops.settings.review", "ops.processes.worker", "streams.alerts.handler", "streams.search.handler"), ""),
        (("ops.cli", "ops.settings.review", "ops.processes.worker", "streams.notifications.handler"), "apprise jinja2"),
        (("ops.cli", "ops.settings.review", "ops.processes.gateway"), "sqlalchemy"),
    ],
    ids=["relay", "worker", "notifications", "gateway"],
)
def test_a_process_loads_no_large_library_that_it_does_not_need(modules: tuple[str, ...], loaded: str) -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED, *modules], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded
