"""Starting a command or a process takes little time."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from ops import cli

_LOADED = """
import sys
from pkgutil import resolve_name
for name in sys.argv[1:]:
    resolve_name(name)
print(*sorted({"sqlalchemy", "apprise", "jinja2"} & {*sys.modules}))
"""
_HELP = """
import sys
from ops import entry
sys.argv = ["tallyhook", "--help"]
try:
    entry.main()
finally:
    large = {"structlog", "sqlalchemy", "psycopg", "pydantic", "aiohttp", "limits", "operations", "outbox"}
    print(*sorted(large & {*sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("modules", "loaded"),
    [
        (("ops.cli", "ops.settings.review", "ops.processes.relay", "ops.processes.deletions"), ""),
        (("ops.cli", "ops.settings.review", "ops.processes.worker", "streams.alerts.handler", "streams.search.handler"), ""),
        (("ops.cli", "ops.settings.review", "ops.processes.worker", "streams.notifications.handler"), "apprise"),
        (("ops.cli", "ops.settings.review", "ops.processes.gateway"), "sqlalchemy"),
    ],
    ids=["relay", "worker", "notifications", "gateway"],
)
def test_a_process_loads_no_large_library_that_it_does_not_need(modules: tuple[str, ...], loaded: str) -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED, *modules], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded


def test_help_loads_no_command_and_none_of_their_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True, check=True)
    assert (done.stderr.strip(), "Run the gateway until SIGTERM" in done.stdout) == ("", True)


_RUN = """
import sys
from ops import cli
for name in sys.argv[1:]:
    cli.loaded(name)
    from ops.processes import gateway, relay, worker
print(*sorted({"structlog", "rich"} & {*sys.modules}))
"""


@pytest.mark.parametrize("name", ["gateway", "relay", "worker"])
def test_a_process_logs_without_rich(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", _RUN, name], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["structlog"]


@pytest.mark.parametrize("name", cli.PLACES)
def test_help_has_the_line_that_the_command_has_of_itself(name: str) -> None:
    text = inspect.cleandoc(cli.loaded(name).commands[name].help)
    assert " ".join(text.partition("\n\n")[0].split()) == cli.PLACES[name].help


_MAIL = """
import sys
from streams.notifications.senders import check_url, sender_of
sender_of(check_url("mailto://localhost:25/?from=shop@example.com"), seconds=1, threads=1)
print(*(name for name in sys.modules if name.startswith("apprise.plugins.") and not name.startswith("apprise.plugins.email")))
"""


def test_a_worker_that_sends_mail_loads_no_other_plugin_of_apprise() -> None:
    done = subprocess.run([sys.executable, "-c", _MAIL], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["apprise.plugins.base"]
