"""What the Dockerfile installs, and nothing else, is enough for every command and every process."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
import requests

from operations import output
from ops import cli
from ops.dev.processes import WORKERS
from tests.collector import collecting
from tests.image import ROOT, Image, lines
from tests.system import ADMIN, System
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import click

    from tests.collector import Collector
    from tests.lasting import Lasting

pytestmark = pytest.mark.timeout(600)  # everything is installed once, and on a busy machine that takes long
LOCAL: Final = ("ops/stack", "ops/dev", "ops/demo", "ops/sink")
"""Packages of the wheel that only a checkout uses: an import contract forbids all others to import them."""
PACKAGES: Final = (
    "runtime",
    "schemas",
    "outbox",
    "projections",
    "topology",
    "gateway",
    "streams",
    "operations",
    "console",
    "ops",
    "migrations",
)
NOBODY: Final = "01a20e74-0deb-71bc-83dc-7d8a5b6f4f28"
# Arguments that a command needs to run; none of them changes data. A command that is not listed runs without any.
ARGUMENTS: Final[dict[str, list[str]]] = {
    "backfill stripe": ["--since", "1h"],
    "dead-letters discard": [NOBODY, "--because", "a test"],
    "dead-letters retry": [NOBODY],
    "dead-letters show": [NOBODY],
    "deliveries explain": ["--last", "stripe"],
    "erase": ["--user", "nobody"],
    "find": [NOBODY],
    "outbox unpark": ["1"],
    "endpoints add-secret": ["stripe/nobody"],
    "endpoints drop-secret": ["stripe/nobody", "00000000"],
    "endpoints import": ["/dev/null"],
    "endpoints put": ["stripe/other"],
    "endpoints remove": ["stripe/nobody", "--yes"],
    "endpoints show": ["stripe/nobody"],
    "endpoints test": ["stripe/nobody"],
    "partners add-secret": ["nobody", "--for", "signing"],
    "partners drop-secret": ["nobody", "00000000"],
    "partners import": ["/dev/null"],
    "partners pause": ["nobody"],
    "partners probe": ["acme"],
    "partners put": ["other-co"],
    "partners remove": ["nobody", "--yes"],
    "partners resume": ["nobody"],
    "partners show": ["acme"],
    "partners test": ["acme"],
    "rebuild": ["all", "--dry-run"],
    "replay cancel": [NOBODY],
    "replay offsets": ["--worker", "payments", "--topic", "webhooks.stripe", "--shadow"],
    "replay webhooks": ["--from", "1h", "--dry-run"],
}
_PARTNER: Final = {"PARTNER_ACME_SECRET": "a-secret-of-the-partner-acme"}
PROCESSES: Final = ("gateway", "relay", "worker")
_HELP: Final = """
import sys
from typer.testing import CliRunner
from ops.cli import app
for path in sys.argv[1:]:
    done = CliRunner().invoke(app, [*path.split(), "--help"])
    assert done.exit_code == 0 and "Usage:" in done.output, (path, done.output, done.exception)
"""
_MISSING: Final = """
import sys
from importlib.util import find_spec
print(*(name for name in sys.argv[1:] if find_spec(name) is None))
"""


def paths(command: click.Command, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Return every command that has an action, as it is typed."""
    below = getattr(command, "commands", {})
    for name, each in below.items():
        yield from paths(each, (*above, name))
    if not below:
        yield " ".join(above)


COMMANDS: Final = tuple(paths(cli.loaded(*cli.PLACES)))


class Running(NamedTuple):
    """All processes of the image, on real servers."""

    image: Image
    system: System
    collector: Collector


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    folder = Path(tempfile.mkdtemp(prefix="tallyhook-image-"))
    yield Image(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def running(image: Image, lasting: Lasting) -> Iterator[Running]:
    """Build the image while the servers start."""
    with collecting() as collector, ThreadPoolExecutor(1) as beside:
        building = beside.submit(image.build)
        stack = lasting.emptied(migrated=False)
        building.result()
        traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        system = System(stack, program=str(image.tallyhook), **traces, **_PARTNER)
        try:
            for command in ("migrate", "topics ensure"):
                done = tallyhook(image, system, command.split())
                assert done.returncode == 0, done.stderr
            system.start()
            yield Running(image, system, collector)
        finally:
            system.stop()


def tallyhook(image: Image, system: System, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run the command as in a container: in the root folder, with no variable of the checkout."""
    environment = {name: text for name, text in system.settings.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return subprocess.run(
        [image.tallyhook, *words], cwd="/", env=environment, input="", capture_output=True, text=True, timeout=120, check=False
    )


def test_every_process_starts_and_exports_spans(running: Running) -> None:
    assert {state.name for state in running.system.states} >= {"gateway", "relay", *(f"worker-{role}" for role in WORKERS)}
    without_spans = [state.name for state in running.system.states if "spans_off" in running.system.log_of(state.name)]
    assert without_spans == []
    requests.get(f"{running.system.internal}/v1/admin/ledger", headers=ADMIN, timeout=10).raise_for_status()
    wait_until(lambda: running.collector.spans)


def test_every_command_works_or_prints_why_not(running: Running) -> None:
    def run(command: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        return command, tallyhook(running.image, running.system, [*command.split(), *ARGUMENTS.get(command, ())])

    with ThreadPoolExecutor(4) as beside:
        done = dict(beside.map(run, [command for command in COMMANDS if command not in PROCESSES]))
    assert {"doctor", "ledger", "topology", "migrate"} <= done.keys()
    wrong = {
        command: each.stderr[-2000:]
        for command, each in done.items()
        if "Traceback" in each.stdout + each.stderr or each.returncode not in {0, 1}  # 2: it wants ARGUMENTS
    }
    assert wrong == {}
    refused = {command for command, each in done.items() if each.returncode and not each.stderr.startswith("tallyhook: ")}
    assert refused <= {"doctor"}  # which exits with 1 for what it finds


def test_the_doctor_finds_the_system_as_it_is(running: Running) -> None:
    done = tallyhook(running.image, running.system, ["doctor", "--json"])
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    assert {"settings", "postgres", "kafka", "redis", "elasticsearch", "listeners"} <= {each["area"] for each in findings}
    assert [each for each in findings if each["area"] == "listeners" and each["level"] != "ok"] == []


def test_every_command_has_help(running: Running) -> None:
    done = python(running.image, _HELP, *COMMANDS)
    assert done.returncode == 0, done.stderr


def test_everything_that_is_imported_anywhere_is_installed(running: Running) -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py") if not _is_local(file)]
    imported = sorted(set().union(*map(_imports, files)))
    assert {"psycopg", "opentelemetry"} <= {*imported}
    assert python(running.image, _MISSING, *imported).stdout.split() == []


def test_nothing_of_the_local_stack_is_installed(running: Running) -> None:
    assert {*python(running.image, _MISSING, "psutil", "jpype", "pytest").stdout.split()} == {"psutil", "jpype", "pytest"}


def test_the_image_runs_tallyhook_under_its_own_account() -> None:
    last = [line for line in lines() if line.stage == 1]
    assert ("ENTRYPOINT", '["tallyhook"]') in [(line.word, line.rest) for line in last]
    assert [line.rest for line in last if line.word == "COPY"] == ["--from=build /opt/tallyhook /opt/tallyhook"]
    assert [line.rest for line in last if line.word == "USER"] == ["tallyhook"]


def test_an_operator_whose_uid_has_no_account_is_named_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert re.fullmatch(r"\d+@.+", output.operator())


def python(image: Image, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [image.bin / "python", "-I", "-c", script, *words]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, check=False)


def _is_local(file: Path) -> bool:
    return any(file.is_relative_to(ROOT / folder) for folder in LOCAL)


def _imports(file: Path) -> Iterator[str]:
    """The packages that a file imports anywhere, by their top names; imports for types alone do not count."""
    tree = ast.parse(file.read_text())
    for_types = {id(node) for block in ast.walk(tree) if _is_for_types(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
