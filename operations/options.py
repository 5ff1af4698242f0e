"""Makes the options of a command from the fields of a record, with the texts and checks that the same query has over HTTP."""

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import typer

from operations.output import WHEN, CommandError, parse_moment
from schemas.fields import Field, FieldMalformed, fields_of, record_of


def options_from(record: type[msgspec.Struct], *names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    Decorate a command whose first argument is the record: the fields with these names become options of the command.

    The command raises CommandError if an option's value does not have the type of the field.
    """
    fields = [field for field in fields_of(record) if field.name in names]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        _, *own = signature.parameters.values()
        places = [each for each in own if each.kind is not each.KEYWORD_ONLY]

        @wraps(command)
        def run(**given: Any) -> None:
            asked = _read(record, {field: given.pop(field.attribute) for field in fields})
            command(asked, **given)

        parameters = [*places, *map(_parameter, fields), *(each for each in own if each not in places)]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # `inspect` and typer read it
        return run

    return decorate


def _read(record: type[msgspec.Struct], given: dict[Field, str | list[str] | None]) -> msgspec.Struct:
    now = datetime.now(UTC)
    texts = [(field.name, text) for field, value in given.items() for text in _texts(value)]
    try:
        return record_of(record, texts, lambda text: parse_moment(text, now))
    except FieldMalformed as error:
        option = next((_option(field) for field in given if field.name == error.name), error.name)
        raise CommandError(f"{option} {error.expected}".strip()) from error


def _texts(value: str | list[str] | None) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        yield from value or ()


def _parameter(field: Field) -> inspect.Parameter:
    option = typer.Option(_option(field), help=_help(field), metavar=_metavar(field))
    kind = list[str] | None if field.many else str | None
    return inspect.Parameter(field.attribute, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _help(field: Field) -> str:
    if field.bare is datetime:  # its text says how HTTP reads a time; a command also takes an age
        return f"{field.description.partition(';')[0]}. {WHEN}"
    return f"{field.description} May be given several times." if field.many else field.description


def _option(field: Field) -> str:
    """Return the name of the option: `--id` for the field `ids`, since each use of it gives one id."""
    return f"--{field.name.removesuffix('s') if field.many else field.name}"


def _metavar(field: Field) -> str:
    if get_origin(field.bare) is Literal:
        return "|".join(get_args(field.bare))
    return {datetime: "TIME", int: "NUMBER", float: "NUMBER"}.get(field.bare, "TEXT")
