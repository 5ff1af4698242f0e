"""
JSON from a provider, read as far as possible: a faulty field that nobody needs must not make the event unreadable.

An optional field that does not fit its type is left out, unless it is `NEEDED`. Half of a surrogate pair is no character (a text
that was cut inside one ends in it), and is read as a NUL: Postgres can store neither, so both are handled alike.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import fields

from schemas import numbers

Record = TypeVar("Record")

NEEDED: Final = {"needed": True}
"""The `extra` of a type whose value must not be left out, since it decides about money or a state."""
Truth = Annotated[bool, msgspec.Meta(extra=NEEDED)]
"""A truth value that must not be left out."""
State = Annotated[str, msgspec.Meta(extra=NEEDED)]
"""A word that decides about a state."""
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The exceptions of a decoder for a body that it does not expect, or that is nested too deep."""
UNSTORABLE: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
"""Matches every JSON body with a text that Postgres might not be able to store."""
_ESCAPES: Final = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|(\\.)", re.DOTALL
)


class Decoder(Generic[Record]):
    """A `schemas.numbers.Decoder`, with the same errors for a body that is no JSON or lacks a needed field."""

    def __init__(self, kind: type[Record]) -> None:
        self._kind = kind
        self._exact = numbers.Decoder(kind)

    def decode(self, body: bytes | str) -> Record:
        return self.read(body)[0]

    def read(self, body: bytes | str) -> tuple[Record, list[str]]:
        """The record, and the names of the fields that were left out of it."""
        text = body.encode() if isinstance(body, str) else body
        try:
            return self._exact.decode(text), []
        except msgspec.ValidationError as misfit:
            return self._without_misfits(_whole(text), misfit)
        except msgspec.DecodeError:
            whole = _whole(text)
            if whole == text:
                raise
            return self.read(whole)

    def _without_misfits(self, body: bytes, misfit: msgspec.ValidationError) -> tuple[Record, list[str]]:
        value = numbers.exact(body)
        left_out = list(_left_out(value, self._kind)) if isinstance(value, dict) else []
        if not left_out:
            raise misfit
        return numbers.convert(value, self._kind), left_out


def _whole(body: bytes) -> bytes:
    """The body with a NUL for every half of a surrogate pair."""
    return _ESCAPES.sub(lambda found: found[0] if found[1] or found[2] else rb"\u0000", body)


def _left_out(value: dict[str, Any], kind: Any) -> Iterator[str]:
    """Remove the fields from an object that do not fit its record, and yield their names."""
    for field in fields(kind):
        name = field.encode_name
        if name not in value or _fits(value[name], field.type):
            continue
        kinds = list(_kinds_in(field.type))
        record = next((each for each in kinds if _is_record(each)), None)
        within = (
            value[name] if isinstance(value[name], list) and any(get_origin(each) is list for each in kinds) else [value[name]]
        )
        if record is not None and within and all(isinstance(each, dict) for each in within):
            yield from (f"{name}.{inner}" for each in within for inner in _left_out(each, record))
        elif not field.required and (not _is_needed(field.type) or value[name] == []):  # PHP writes an empty object as []
            del value[name]
            yield name


def _fits(value: Any, kind: Any) -> bool:
    try:
        numbers.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _kinds_in(kind: Any) -> Iterator[Any]:
    """The types that a type is made of, except those within a record."""
    yield kind
    if not _is_record(kind):
        for part in get_args(kind):
            yield from _kinds_in(part)


def _is_record(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, msgspec.Struct)


def _is_needed(kind: Any) -> bool:
    return any(isinstance(each, msgspec.Meta) and each.extra == NEEDED for each in _kinds_in(kind))
