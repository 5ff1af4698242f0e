"""Every text of `--help` is complete, whatever the width of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from typer.testing import CliRunner

from ops import cli
from runtime.build import release

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command and group, at any depth, with its name as it is typed."""
    for name, each in getattr(group, "commands", {}).items():
        yield f"{above}{name}", each
        yield from commands(each, f"{above}{name} ")


ALL: Final = dict(commands(cli.loaded(*cli.PLACES)))


@pytest.mark.parametrize("name", ALL)
def test_no_paragraph_keeps_the_line_breaks_of_the_source(name: str) -> None:
    assert all("\n" not in paragraph for paragraph in ALL[name].help.split("\n\n"))


@pytest.mark.parametrize("name", ALL)
def test_every_argument_and_option_has_a_text(name: str) -> None:
    assert [parameter.name for parameter in ALL[name].params if not getattr(parameter, "help", None)] == []


@pytest.mark.parametrize("name", ALL)
def test_arguments_are_in_capitals_without_dots_of_their_own(name: str) -> None:
    arguments = [parameter for parameter in ALL[name].params if parameter.param_type_name == "argument"]
    shown = [parameter.metavar or "" for parameter in arguments]
    assert all(each and each == each.upper() and not each.strip("[]").endswith((".", "…")) for each in shown), shown


def test_a_time_says_once_how_it_is_read() -> None:
    [text] = [each.help for each in ALL["replay webhooks"].params if each.opts == ["--from"]]
    assert text.count("UTC") == 1
    assert "how long ago, such as 2h" in text


def test_the_release_is_shown() -> None:
    shown = CliRunner().invoke(cli.app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"{release()}\n")
