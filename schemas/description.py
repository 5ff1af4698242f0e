"""
Records as the world is told of them: JSON Schema (2020-12) under short names, each described once.

msgspec says what a record takes; what it leaves unsaid is added here, so that generated clients know it too. A record states in
`rules` what holds between its fields.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

Json = dict[str, Any]
Record = type[msgspec.Struct]

_INDENT: Final = 2
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", type(None): "null"}
_VALUES: Final = frozenset({"enum", "const", "examples", "required"})
"""Words behind which stand values, not schemas."""


class Described(NamedTuple):
    """`schemas` by name, those of records within records too, and how to refer to that of a record."""

    schemas: dict[str, Json]
    references: dict[Record, Json]


def describe(records: Iterable[Record], reference: str, examples: Iterable[msgspec.Struct] = ()) -> Described:
    """The schemas of the records; `reference` is where they will stand, such as `#/$defs/{name}`, `examples` are some of them."""
    found = {kind.cls: kind for kind in _structs(inspect.multi_type_info(list(records)))}
    roots, components = msgspec.json.schema_components(list(found), ref_template="{name}")
    full = {record: root["$ref"] for record, root in zip(found, roots, strict=True)}
    short = {name: _published(name) for name in full.values()}
    written = {type(example): msgspec.json.decode(msgspec.json.encode(example)) for example in examples}
    schemas: dict[str, Json] = {}
    for record, name in full.items():
        schema = {**_with_times(components[name], found[record]), "title": short[name], **getattr(record, "rules", {})}
        if record in written:
            schema["examples"] = [written[record]]
        schemas[short[name]] = _translate(
            for_generators(with_patterns_for_all(schema)), {name: reference.format(name=to) for name, to in short.items()}
        )
    ordered = dict(sorted(schemas.items()))
    return Described(ordered, {record: {"$ref": reference.format(name=short[name])} for record, name in full.items()})


def by_case(field: str, cases: Iterable[tuple[Json, Json]]) -> Json:
    """
    What other fields are where the field is as the first of each pair says.

    Generators pass over `if`, `then` and `else`, while they make models of what stands in `allOf`, `anyOf` and `not`.
    """
    rules: Json = {}
    for case, others in reversed(list(cases)):
        rules = {
            "if": {"type": "object", "properties": {field: case}, "required": [field]},
            "then": {"type": "object", "properties": others},
            **({"else": rules} if rules else {}),
        }
    return rules


def never(*cases: Json, otherwise: Json | None = None) -> Json:
    """None of the cases, in the same words."""
    rules = otherwise or {}
    for case in reversed(cases):
        rules = {"if": case, "then": False, **({"else": rules} if rules else {})}
    return rules


def text_of(document: Any) -> bytes:
    """A document as its file has it."""
    return msgspec.json.format(msgspec.json.encode(document), indent=_INDENT) + b"\n"


def _structs(kinds: Iterable[Any], seen: frozenset[Record] = frozenset()) -> Iterator[inspect.StructType]:
    """Every record among the types and within them, outer ones first; a record within itself once."""
    for kind in kinds:
        if isinstance(kind, inspect.StructType):
            if kind.cls in seen:
                continue
            yield kind
            yield from _structs((field.type for field in kind.fields), seen | {kind.cls})
        else:
            yield from _structs(_parts(kind), seen)


def _parts(kind: inspect.Type) -> list[inspect.Type]:
    """What a type that is no record is made of."""
    values = (value if isinstance(value, tuple) else (value,) for value in msgspec.structs.astuple(kind))
    return [part for value in values for part in value if isinstance(part, inspect.Type)]


def _published(name: str) -> str:
    """
    The name of a record, under which the world knows it.

    Raises ValueError: two records of one name would be told apart by their modules, and be renamed as those are moved.
    """
    if "." in name:
        raise ValueError(f"two records have the name of {name}")
    return name


def _with_times(schema: Json, kind: inspect.StructType) -> Json:
    """Say which texts are times."""
    properties = dict(schema.get("properties", {}))
    for field in kind.fields:
        if any(isinstance(part, inspect.DateTimeType) for part in (field.type, *_parts(field.type))):
            properties[field.encode_name] = _time(properties[field.encode_name])
    return {**schema, "properties": properties} if properties else dict(schema)


def _time(schema: Json) -> Json:
    if "anyOf" in schema:
        return {**schema, "anyOf": [_time(each) for each in schema["anyOf"]]}
    return {**schema, "format": "date-time"} if schema.get("type") == "string" else schema


def _translate(schema: Any, references: Mapping[str, str]) -> Any:
    """References by their new names."""
    if isinstance(schema, list):
        return [_translate(each, references) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {word: _translate(value, references) for word, value in schema.items()}
    if isinstance(target := schema.get("$ref"), str):
        changed["$ref"] = references[target]
    return changed


def with_patterns_for_all(schema: Any) -> Any:
    """The schema with patterns as ECMA-262 has them, where `$` is the very end; in Python it lets a last newline pass."""
    if isinstance(schema, list):
        return [with_patterns_for_all(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {word: with_patterns_for_all(value) for word, value in schema.items()}
    if isinstance(pattern := schema.get("pattern"), str):
        changed["pattern"] = pattern.replace("\\Z", "$")
    return changed


def for_generators(schema: Any) -> Any:
    """
    The schema in the words that the common generators of clients understand, taking the same.

    A default would make openapi-typescript demand the field, and null is none that Go can have; an integer without its format
    has 32 bits in Go and Java; enums without a type are nothing in particular; and `items` has to be a schema.
    """
    if isinstance(schema, list):
        return [for_generators(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {word: _within(word, value) for word, value in schema.items() if word != "default"}
    changed |= changed.pop("published", {})  # what the door asks for besides the type
    if schema.get("type") == "integer":
        changed.setdefault("format", "int64")
    if isinstance(words := schema.get("enum"), list) and len(kinds := {_TYPES.get(type(word)) for word in words}) == 1:
        changed.setdefault("type", *kinds)
    if schema.get("type") == "array":
        changed.setdefault("items", {})
    if schema.get("items") is False:
        changed["items"] = {"anyOf": _apart(changed["prefixItems"])}
    return changed


def _within(word: str, value: Any) -> Any:
    if word == "properties":
        return {name: for_generators(each) for name, each in value.items()}
    return value if word in _VALUES else for_generators(value)


def _apart(schemas: Iterable[Json]) -> list[Json]:
    """All alternatives of the schemas, each once."""
    found: list[Json] = []
    for schema in schemas:
        found += [each for each in schema.get("anyOf", [schema]) if each not in found]
    return found


def publish(file: Path, text: bytes, arguments: Sequence[str], remedy: str) -> int:
    """Write the file, or with `--check` only say whether it is as it should be; returns the exit code."""
    current = file.exists() and file.read_bytes() == text
    if list(arguments) == ["--check"] and not current:
        sys.stdout.write(f"{file.name}: differs from the code; run `{remedy}`\n")
        return 1
    if not current:
        file.write_bytes(text)
    sys.stdout.write(f"{file.name}: {'as it should be' if current else 'written'}\n")
    return 0
