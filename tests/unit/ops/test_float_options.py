"""No option of any command accepts `nan` or infinity: comparisons with bounds do not refuse `nan`, and it is no pause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import pytest
import typer
from typer.testing import CliRunner

from operations.output import finite
from ops import cli
from ops.dev.__main__ import app as dev

if TYPE_CHECKING:
    from collections.abc import Iterator

NONE: Final = ("nan", "-nan", "inf", "-inf", "Infinity", "1e400", "\uff11\uff10")


def float_parameters(command: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, Any]]:
    """Yield every parameter that takes floats, at any depth, each with its command and its name as it is typed."""
    for name, each in getattr(command, "commands", {}).items():
        yield from float_parameters(each, (*above, name))
    for parameter in command.params:
        kind = parameter.type_descriptor.annotation
        if float in (kind, *get_args(kind)):
            yield " ".join((*above, parameter.opts[0])), command, parameter


def refuses(command: Any, parameter: Any, text: str) -> bool:
    words = [parameter.opts[0], text] if parameter.opts[0].startswith("-") else ["--", text]
    try:
        command.main(words, standalone_mode=False)
    except typer.BadParameter as error:
        return error.param is parameter
    return False


FOUND: Final = [*float_parameters(cli.loaded(*cli.PLACES)), *float_parameters(typer.main.get_command(dev))]


def test_the_walk_finds_the_options_that_there_are() -> None:
    assert {"backfill stripe --rate", "partners probe --wait"} <= {name for name, _, _ in FOUND}


@pytest.mark.parametrize("text", NONE)
@pytest.mark.parametrize(("command", "parameter"), [found[1:] for found in FOUND], ids=[name for name, _, _ in FOUND])
def test_no_option_accepts_a_number_that_is_not_finite(command: Any, parameter: Any, text: str) -> None:
    assert refuses(command, parameter, text)


@pytest.mark.parametrize(("command", "parameter"), [found[1:] for found in FOUND], ids=[name for name, _, _ in FOUND])
def test_every_option_refuses_it_itself_whatever_the_release_of_typer(command: Any, parameter: Any) -> None:
    ctx = typer.Context(command)
    for number in (float("nan"), float("inf")):
        with pytest.raises(typer.BadParameter, match="a finite number is expected"):
            parameter.callback(ctx, parameter, number)
    assert parameter.callback(ctx, parameter, 2.5) == 2.5


def test_the_walk_would_find_a_new_option_and_see_that_it_takes_them() -> None:
    app = typer.Typer()

    @app.command()
    def careless(
        pace: Annotated[float, typer.Option()] = 1.0, paces: Annotated[list[float] | None, typer.Option()] = None
    ) -> None:
        pass

    found = [*float_parameters(typer.main.get_command(app))]
    assert [name for name, _, _ in found] == ["--pace", "--paces"]
    assert not any(refuses(command, parameter, "nan") for _, command, parameter in found)
    assert all(refuses(command, parameter, "\uff11\uff10") for _, command, parameter in found)


def test_a_refusal_names_the_option_and_is_a_fault_of_usage() -> None:
    app = typer.Typer()

    @app.command()
    def careful(pace: Annotated[float, typer.Option(callback=finite)] = 1.0) -> None:
        typer.echo(pace)

    refused = CliRunner().invoke(app, ["--pace", "nan"])
    assert (refused.exit_code, "--pace" in refused.output, "a finite number is expected" in refused.output) == (2, True, True)
    assert CliRunner().invoke(app, ["--pace", "2.5"]).output == "2.5\n"
