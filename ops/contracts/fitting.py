"""
Whether a reader of one JSON Schema takes everything that another allows: pure, for the part of JSON Schema that msgspec writes.

What is outside of that part must be equal, or is reported: the check may be too strict, never too lax.
"""

from collections.abc import Callable, Iterator
from operator import eq, ge, le
from typing import Any, Final, NamedTuple

Schema = dict[str, Any]

# Words that describe and do not restrict.
_NOTES: Final = frozenset({"$schema", "$id", "$defs", "title", "description", "$comment", "topic", "default", "examples"})
# Words that are looked at on their own below.
_STRUCTURE: Final = frozenset({"type", "enum", "const", "properties", "required", "items", "prefixItems", "additionalProperties"})
# Bounds: the data's must be at least as tight as the reader's.
_Satisfies = Callable[[Any, Any], bool]
_BOUNDS: Final[dict[str, _Satisfies]] = {
    "minimum": ge,
    "exclusiveMinimum": ge,
    "minLength": ge,
    "minItems": ge,
    "minProperties": ge,
    "maximum": le,
    "exclusiveMaximum": le,
    "maxLength": le,
    "maxItems": le,
    "maxProperties": le,
}
_TYPES: Final[dict[type, str]] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class _Pair(NamedTuple):
    """The two schemas at one place, with the definitions that their references lead to."""

    data: Any
    reader: Any
    path: str
    data_root: Schema
    reader_root: Schema
    whole: bool
    above: frozenset[tuple[str, str]] = frozenset()

    def at(self, data: Any, reader: Any, step: str) -> "_Pair":
        return self._replace(data=data, reader=reader, path=f"{self.path}.{step}" if self.path else step)

    def says(self, problem: str) -> str:
        return f"`{self.path}` {problem}" if self.path else f"the record {problem}"


def fits(*, data: Schema, reader: Schema, whole: bool = False) -> list[str]:
    """
    Why a reader of the one schema does not take everything that the other allows as data; empty where it does.

    `whole` asks for more: that the data can hold every field of the reader, optional ones too.
    """
    return list(_fits(_Pair(data, reader, "", data, reader, whole)))


def _fits(pair: _Pair) -> Iterator[str]:
    references = (_reference(pair.data), _reference(pair.reader))
    if any(references):
        if references in pair.above:
            return  # a record within itself: compared already, further up
        pair = pair._replace(
            data=_resolve(pair.data, pair.data_root),
            reader=_resolve(pair.reader, pair.reader_root),
            above=pair.above | {references},
        )
    readers = _alternatives(pair.reader)
    for data in _alternatives(pair.data):
        found = [list(_fits_one(pair._replace(data=data, reader=reader))) for reader in readers]
        if all(found):
            yield from found[0] if len(found) == 1 else [pair.says(f"may be {_name(data)}, which is not expected")]


def _reference(schema: Any) -> str:
    return schema.get("$ref", "") if isinstance(schema, dict) else ""


def _resolve(schema: Any, root: Schema) -> Any:
    reference = _reference(schema)
    return root.get("$defs", {}).get(reference.rpartition("/")[2], schema) if reference else schema


def _alternatives(schema: Any) -> list[Any]:
    return schema["anyOf"] if isinstance(schema, dict) and "anyOf" in schema else [schema]


def _name(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "anything"
    return str(schema.get("type") or schema.get("enum") or schema.get("$ref", "").rpartition("/")[2] or "anything")


def _fits_one(pair: _Pair) -> Iterator[str]:
    data, reader = pair.data, pair.reader
    if data == reader and pair.data_root is pair.reader_root:
        return
    if _accepts_anything(reader) or data is False:
        return
    if _reference(data) or _reference(reader):
        yield from _fits(pair)
        return
    if not isinstance(data, dict) or not isinstance(reader, dict):
        yield pair.says("may be anything, which is not expected" if reader is not False else "is not expected")
        return
    problems = list(_values(pair))
    yield from problems
    if not problems:
        yield from _restrictions(pair)
        yield from _elements(pair)
        yield from _fields(pair)


def _accepts_anything(schema: Any) -> bool:
    return schema is True or (isinstance(schema, dict) and not schema.keys() - _NOTES)


def _values(pair: _Pair) -> Iterator[str]:
    """Types and listed values."""
    written, taken = _listed(pair.data), _listed(pair.reader)
    if taken is not None:
        if written is None:
            yield pair.says(f"may be any {_name(pair.data)}, where only {_words(taken)} are expected")
        elif unknown := [value for value in written if value not in taken]:
            yield pair.says(f"may be {_words(unknown)}, which the reader does not know")
        return
    types = {_TYPES.get(type(value)) for value in written} if written is not None else {pair.data.get("type")}
    expected = pair.reader.get("type")
    if expected is not None and not types <= ({"integer", "number"} if expected == "number" else {expected}):
        yield pair.says(f"may be {_name(pair.data)}, where {expected} is expected")


def _listed(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _words(values: list[Any]) -> str:
    return ", ".join(repr(value) for value in values)


def _restrictions(pair: _Pair) -> Iterator[str]:
    for word in sorted(pair.reader.keys() - _NOTES - _STRUCTURE):
        bound, actual = pair.reader[word], pair.data.get(word)
        satisfied: _Satisfies = _BOUNDS.get(word, eq)
        if actual is None or not satisfied(actual, bound):
            yield pair.says(f"has {word} {actual}, where {bound} is expected")


def _elements(pair: _Pair) -> Iterator[str]:
    """Of an array: those with a place of their own, then the rest."""
    written, taken = pair.data.get("prefixItems", []), pair.reader.get("prefixItems", [])
    rest_written, rest_taken = pair.data.get("items", True), pair.reader.get("items", True)
    for place in range(max(len(written), len(taken))):
        data = written[place] if place < len(written) else rest_written
        reader = taken[place] if place < len(taken) else rest_taken
        yield from _fits(pair.at(data, reader, str(place)))
    yield from _fits(pair.at(rest_written, rest_taken, "[]"))


def _fields(pair: _Pair) -> Iterator[str]:
    """Of an object: fields that only the data has are ignored by a reader, unless it says otherwise."""
    written, taken = pair.data.get("properties", {}), pair.reader.get("properties", {})
    always, needed = set(pair.data.get("required", ())), set(pair.reader.get("required", ()))
    for name in sorted(needed - always):
        yield pair.at(None, None, name).says("may be missing, and is required")
    for name in sorted(written.keys() & taken.keys()):
        yield from _fits(pair.at(written[name], taken[name], name))
        if name not in always | needed and written[name].get("default") != taken[name].get("default"):
            yield pair.at(None, None, name).says("has another default, so that its absence means another thing")
    yield from _fields_of_one_side(pair, written, taken, needed)


def _fields_of_one_side(pair: _Pair, written: Schema, taken: Schema, needed: set[str]) -> Iterator[str]:
    rest_written, rest_taken = pair.data.get("additionalProperties", True), pair.reader.get("additionalProperties", True)
    for name in sorted(written.keys() - taken.keys()):
        yield from _fits(pair.at(written[name], rest_taken, name))
    if not written:  # a mapping, whose keys may be any
        yield from _fits(pair.at(rest_written, rest_taken, "*"))
    for name in sorted(taken.keys() - written.keys()):
        if not written:
            yield from _fits(pair.at(rest_written, taken[name], name))
        elif pair.whole and name not in needed:
            yield pair.at(None, None, name).says("is gone")
