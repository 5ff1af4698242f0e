"""Whoever is woken by a reason finds its page, and the page speaks of things that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import typer.main

from gateway.errors import Reason
from ops.cli import app
from outbox import delivery

if TYPE_CHECKING:
    import click

ROOT: Final = Path(__file__).parents[2]
INDEX: Final = (ROOT / "runbooks/README.md").read_text()
PAGES: Final = sorted(page for page in (ROOT / "runbooks").glob("*.md") if page.name != "README.md")
CODE: Final = "\n".join(
    path.read_text()
    for package in ("runtime", "outbox", "projections", "gateway", "streams", "schemas")
    for path in sorted((ROOT / package).rglob("*.py"))
)
COMMANDS: Final = typer.main.get_command(app)

each_page = pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])


def test_every_page_is_in_the_index_and_every_link_leads_somewhere() -> None:
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", INDEX)) == {page.name for page in PAGES}


def test_every_page_that_the_code_names_exists() -> None:
    named = set(re.findall(r"runbooks/[a-z-]+\.md", CODE))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_of_the_gateway_is_in_the_index(reason: Reason) -> None:
    assert f"`{reason}`" in INDEX


def test_every_reason_of_a_dead_letter_or_a_parked_event_is_in_the_index() -> None:
    poison = set(re.findall(r"""(?:Poison|EnvelopeError|SchemaError)\(\s*"([a-z_]+)\"""", CODE))
    reasons = poison | {*delivery._TOPIC.values(), *delivery._RECORD.values()}
    assert sorted(reason for reason in reasons if f"`{reason}`" not in INDEX) == []


@each_page
def test_a_page_goes_from_symptom_to_confirmation(page: Path) -> None:
    assert re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE) == ["Symptom", "Check", "Act", "Confirm"]


@each_page
def test_the_metrics_of_a_page_exist(page: Path) -> None:
    metrics = re.findall(r"`(tallyhook_[a-z_]+)", page.read_text())
    assert [metric for metric in metrics if f'"{metric}"' not in CODE] == []


@each_page
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for words in re.findall(r"^(?:.*`)?tallyhook ([a-z][a-z -]*)", page.read_text(), re.MULTILINE):
        assert _command(words.split()) is not None, words


def _command(words: list[str]) -> click.Command | None:
    """The command that the words begin with; the rest are its arguments."""
    found: click.Command | None = COMMANDS
    while words and hasattr(found, "commands"):
        found, words = found.commands.get(words[0]), words[1:]
    return found
