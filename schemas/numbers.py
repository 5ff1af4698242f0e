"""
Whole numbers as JSON Schema has them: `2284.0` and `1e3` are integers, and exact however many digits they have.

msgspec accepts a number as an integer only if it is written without a fraction and without an exponent.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import inspect

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
_EXACT: Final = 2**53  # from here on a float may be a rounded integer
_DIGITS_MAX: Final = 20  # more than any of our integers has; also keeps 1e1000000 from being written out

Record = TypeVar("Record")


class Decoder(Generic[Record]):
    """A `msgspec.json.Decoder` with the same errors; it decodes again, exactly, if a fraction is in the place of an integer."""

    def __init__(self, kind: type[Record]) -> None:
        self._kind = kind
        self._typed: msgspec.json.Decoder[Record] = msgspec.json.Decoder(kind)
        self._shape = inspect.type_info(kind)

    def decode(self, body: bytes) -> Record:
        try:
            return self._typed.decode(body)
        except msgspec.ValidationError as misfit:
            if "`float`" not in str(misfit):
                raise
            return msgspec.convert(_fitted(exact(body), self._shape), self._kind)


def exact(body: bytes) -> Any:
    """
    The JSON value with every number exact, for `convert`.

    Raises msgspec.DecodeError.
    """
    return _exact.decode(body)


def convert(value: Any, kind: type[Record]) -> Record:
    """
    A decoded JSON value as a record.

    Raises msgspec.ValidationError.
    """
    return msgspec.convert(_fitted(value, inspect.type_info(kind)), kind)


def whole(value: object) -> int | None:
    """The integer that a JSON value is, or None; a float that may be a rounded integer is none."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXACT else None
    if isinstance(value, Decimal):
        return int(value) if value.adjusted() < _DIGITS_MAX and value == value.to_integral_value() else None
    return value if type(value) is int else None  # a bool is an int to `isinstance`


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError("Number out of range") from error


_exact: Final = msgspec.json.Decoder(Any, float_hook=_decimal)


def _fitted(value: Any, kind: inspect.Type) -> Any:
    """The value with integers where the type has some, and floats in every other place."""
    kinds = _alternatives(kind)
    match value:
        case Decimal() | float():
            return _number(value, integer=any(isinstance(each, inspect.IntType) for each in kinds))
        case dict():
            within = _fields(kinds)
            return {name: _fitted(field, within.get(name, within[""])) for name, field in value.items()}
        case list():
            return [_fitted(item, _item(kinds, place)) for place, item in enumerate(value)]
    return value


def _number(value: Decimal | float, *, integer: bool) -> int | float:
    if integer and (found := whole(value)) is not None:
        return found
    if not isfinite(number := float(value)):
        raise msgspec.ValidationError("Number out of range")
    return number


def _alternatives(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return tuple(each for alternative in kind.types for each in _alternatives(alternative))
    return (kind,)


def _fields(kinds: tuple[inspect.Type, ...]) -> Mapping[str, inspect.Type]:
    """The types of an object's fields by name; under the empty name that of all others."""
    for kind in kinds:
        if isinstance(kind, inspect.StructType):
            return {**{field.encode_name: field.type for field in kind.fields}, "": inspect.AnyType()}
        if isinstance(kind, inspect.DictType):
            return {"": kind.value_type}
    return {"": inspect.AnyType()}


def _item(kinds: tuple[inspect.Type, ...], place: int) -> inspect.Type:
    for kind in kinds:
        if isinstance(kind, inspect.TupleType) and place < len(kind.item_types):
            return kind.item_types[place]
        if isinstance(kind, inspect.CollectionType):
            return kind.item_type
    return inspect.AnyType()
