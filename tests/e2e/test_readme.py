"""
The README for a newcomer who has just cloned the repository: its blocks run unchanged, in order, in one fresh shell.

A block fenced as `sh` is run and must succeed; one fenced as `text` or `mermaid` is not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest
import requests

from ops.stack.places import default_data_dir
from tests.clones import CHECKOUT, clone_into
from tests.e2e.demonstrated import EFFECTS
from tests.needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README: Final = (CHECKOUT / "README.md").read_text()
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS: Final = "\n".join(text for language, text in FENCE.findall(README) if language == "sh")
URL: Final = re.compile(r"https?://[^\s\"')>]+")
WIDTH: Final = 80


class Newcomer:
    """A user in a fresh clone, whose shell has only the variables of every login."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        passed = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CACHE_HOME", "LANG") if name in os.environ}
        self._login = passed | {"COLUMNS": str(WIDTH)}

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run the lines of the script in a separate shell, which ends at the first one that fails."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607  # the bash of the path
            cwd=self.checkout, env=self._login, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def output_of(self, script: str) -> str:
        ended = self.run(script)
        assert ended.returncode == 0, f"{script}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout


@pytest.fixture(scope="module")
def newcomer(servers_dir: Path) -> Iterator[Newcomer]:
    if not (CHECKOUT / ".venv/.stamp").exists():
        missing("there is no .venv that ./dev has made")
    checkout = clone_into(servers_dir / "clone")
    newcomer = Newcomer(checkout)
    yield newcomer
    newcomer.run("./dev down")
    shutil.rmtree(default_data_dir(checkout), ignore_errors=True)


@pytest.fixture(scope="module")
def after_the_readme(newcomer: Newcomer) -> str:
    """The output of all commands of the README."""
    return newcomer.output_of(COMMANDS)


def too_wide(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line) > WIDTH and len(line.split()) > 1]


def test_a_block_is_marked_as_run_or_not_and_leaves_nothing_to_be_filled_in() -> None:
    assert {language for language, _ in FENCE.findall(README)} <= {"sh", "text", "mermaid"}
    assert [mark for mark in ("…", "...", "<", "127.0.0.1:80") if mark in COMMANDS] == []


def test_the_commands_of_the_readme_work_in_their_order(after_the_readme: str) -> None:
    assert "Tallyhook is ready" in after_the_readme
    assert "A Stripe payment" in after_the_readme
    assert '"status":"succeeded"' in after_the_readme.replace(" ", "")
    assert "every process would start" in after_the_readme
    assert "signature_wrong" in after_the_readme


def test_the_output_fits_80_columns_and_every_url_opens(newcomer: Newcomer, after_the_readme: str) -> None:
    started, _, rest = after_the_readme.partition("\nA Stripe payment\n")
    demonstrated = rest.partition('{"')[0]  # the answers of the gateway follow
    for output in (started, demonstrated, newcomer.output_of("./dev status")):
        assert too_wide(output) == []
        assert "…" not in output
        assert "\nNext:\n" in output
        for url in {*URL.findall(output)}:
            answer = requests.get(url, headers={"Accept": "text/html,*/*"}, timeout=10)
            assert (answer.status_code, url) == (200, url)
            assert answer.headers["Content-Type"].partition(";")[0] in {"text/html", "application/json", "text/plain"}
            assert answer.text.strip()


def test_the_next_steps_that_the_demo_prints_can_be_pasted(newcomer: Newcomer, after_the_readme: str) -> None:
    steps = after_the_readme.partition("\nA Stripe payment\n")[2].partition("\nNext:\n")[2].partition('{"')[0]
    pasted = "\n".join(line for line in steps.splitlines() if line.startswith("    ") and not URL.match(line.strip()))
    assert '"journey"' in newcomer.output_of(pasted)


@pytest.fixture(scope="module")
def secured(newcomer: Newcomer, after_the_readme: str) -> subprocess.CompletedProcess[str]:
    """The output of a stop of the same system, and of its start with TLS and passwords."""
    assert after_the_readme
    script = """
    eval "$(./dev env)"
    ./dev down
    ! tallyhook ledger
    ./dev up --detach --secure
    ./dev demo
    ! tallyhook ledger
    eval "$(./dev env)"
    tallyhook ledger
    ./dev env
    """
    ended = newcomer.run(script)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended


def test_an_env_that_was_set_before_a_stop_is_not_taken_for_the_users_own(secured: subprocess.CompletedProcess[str]) -> None:
    assert "no longer runs" in secured.stderr
    assert "have changed since" in " ".join(secured.stderr.split())
    postgres = re.search(r"^postgres +ready +(\d+|-)", secured.stdout, re.MULTILINE)
    assert postgres
    assert postgres[1].isdigit()  # the stack's own server, not another one at the address in the shell


def test_the_demo_runs_where_every_server_asks_for_tls_and_a_password(secured: subprocess.CompletedProcess[str]) -> None:
    shown = " ".join(secured.stdout.split())  # without its line breaks
    for effect in EFFECTS:
        assert effect in shown
    for setting in (
        "sslmode=verify-full",
        "KAFKA_SECURITY_PROTOCOL=SASL_SSL",
        "REDIS_URL=rediss://",
        "ELASTICSEARCH_URL=https://",
    ):
        assert setting in secured.stdout.replace("'", "")
