"""
Makes a record from texts, since a query string and a command line hold nothing else.

Both take the names, the types and the descriptions from the record, so that one declaration checks both.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from schemas import text
from schemas.numbers import Decoder

Record = TypeVar("Record", bound=msgspec.Struct)
Moment = Callable[[str], datetime]
"""Reads a time; raises ValueError."""

_NUMBERS: Final = (int, float)
_BOUNDS: Final = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


class FieldMalformed(ValueError):
    """A text is not what its field takes: `name` is the name of the field, `expected` describes what it takes."""

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"{name} {expected}".strip())
        self.name = name
        self.expected = expected


class Field(NamedTuple):
    """
    One field of a record: `name` is that of its JSON, `attribute` that of Python.

    `kind` is the type without its None, of one item where the field takes `many`.
    """

    name: str
    attribute: str
    kind: Any
    description: str
    default: Any
    many: bool

    @property
    def bare(self) -> Any:
        """The type without its bounds."""
        return get_args(self.kind)[0] if get_origin(self.kind) is Annotated else self.kind

    def read(self, given: str, moment: Moment) -> Any:
        """Parse the text. Raises FieldMalformed."""
        try:
            if self.bare in _NUMBERS:
                return _decoder(self.kind).decode(given.encode("utf-8", "replace") if given == given.strip() else b"")
            if self.bare is datetime:
                return moment(given)
            if text.is_storable(given):
                return msgspec.convert(given, self.kind)
        except ValueError as error:  # msgspec's errors are among them
            raise FieldMalformed(self.name, self._expected()) from error
        raise FieldMalformed(self.name, self._expected())

    def _expected(self) -> str:
        if get_origin(self.bare) is Literal:
            return f"is one of {', '.join(get_args(self.bare))}"
        if self.bare in _NUMBERS:
            return f"is {_expected_number(self.kind, whole=self.bare is int)}"
        if self.bare is datetime:
            return "is a time like 2026-11-24T10:00:00Z"
        return "has characters that are not allowed, or too many of them"


@cache
def fields_of(record: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The fields, those that a record declares itself before those of its base."""
    declared = {field.name: field for field in msgspec.structs.fields(record)}
    lineage = [base for base in record.__mro__ if issubclass(base, msgspec.Struct)]
    names = [name for base, above in pairwise(lineage) for name in base.__struct_fields__[len(above.__struct_fields__) :]]
    return tuple(_field(declared[name]) for name in names)


def record_of(record: type[Record], given: Iterable[tuple[str, str]], moment: Moment) -> Record:
    """
    Make the record from texts by name; of a repeated name the first counts, unless its field takes many.

    Raises FieldMalformed, also for an unknown name: a filter that was ignored would find more than was requested.
    """
    fields = {field.name: field for field in fields_of(record)}
    found: dict[str, Any] = {}
    unknown = set()
    for name, each in given:
        if name not in fields:
            unknown.add(text.storable(name))
            continue
        value = fields[name].read(each, moment)
        if fields[name].many:
            found.setdefault(name, []).append(value)
        else:
            found.setdefault(name, value)
    if unknown:
        raise FieldMalformed("unknown:", ", ".join(sorted(unknown)))
    try:
        return msgspec.convert(found, record)
    except msgspec.ValidationError as error:
        detail, _, place = str(error).partition(" - at `$.")
        raise FieldMalformed(place.rstrip("`"), detail) from error


def _expected_number(kind: Any, *, whole: bool) -> str:
    """The bounds of a number in words; either side may lack one."""
    schema = msgspec.json.schema(kind)
    if whole and "minimum" in schema and "maximum" in schema:
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    bounds = " and ".join(f"{words} {schema[bound]:.15g}" for bound, words in _BOUNDS.items() if bound in schema)
    return ", ".join(filter(None, ("a whole number" if whole else "", bounds))) or "a number"


def _field(declared: msgspec.structs.FieldInfo) -> Field:
    kind = _without_none(declared.type)
    bare, *bounds = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    many = get_origin(bare) is tuple
    description = next((meta.description for meta in reversed(bounds) if meta.description), "")
    default = None if declared.default is msgspec.NODEFAULT else declared.default
    return Field(declared.encode_name, declared.name, get_args(bare)[0] if many else kind, description, default, many)


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in {Union, UnionType}:
        return kind
    (found,) = (each for each in get_args(kind) if each is not NoneType)
    return found


@cache
def _decoder(kind: Any) -> Decoder[Any]:
    return Decoder(kind)
