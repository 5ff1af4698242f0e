"""
JSON Schema (2020-12) of records for the published contracts.

msgspec makes a schema from the types of a record. This module adds the descriptions of the fields, the formats of times, the
rules between fields that a record states in `rules`, and the wording that generators of clients need.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from inspect import cleandoc, getsource
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

from schemas.rules import Json

Record = type[msgspec.Struct]

_INDENT: Final = 2
_TYPES: Final = {str: "string", bool: "boolean", int: "integer", type(None): "null"}
_VALUES: Final = frozenset({"enum", "const", "examples", "required"})
"""Keywords whose values are not schemas."""


class Described(NamedTuple):
    """The schemas by name, including records within records, and the reference to each record."""

    schemas: dict[str, Json]
    references: dict[Record, Json]


def described(records: Iterable[Record], reference: str) -> Described:
    """
    The schemas as msgspec makes them, with the descriptions of the fields; `reference` is a template such as `#/$defs/{name}`.

    Raises ValueError if two records have one name: msgspec would publish their modules, and moving one would rename its schema.
    """
    found = list(_structs(inspect.multi_type_info(list(records))))
    roots, components = msgspec.json.schema_components([kind.cls for kind in found], ref_template=reference)
    if ambiguous := [name for name in components if "." in name]:
        raise ValueError(f"several records have the name of {', '.join(ambiguous)}")
    references = {kind.cls: root for kind, root in zip(found, roots, strict=True)}
    named = {name_of(root): kind for kind, root in zip(found, roots, strict=True)}
    return Described({name: _with_fields(components[name], kind) for name, kind in named.items()}, references)


def describe(records: Iterable[Record], reference: str, examples: Iterable[msgspec.Struct] = ()) -> Described:
    """The schemas of the records for generators of clients, with those examples that are of one of the records."""
    schemas, references = described(records, reference)
    written = {type(example): msgspec.json.decode(msgspec.json.encode(example)) for example in examples}
    for record, root in references.items():
        name = name_of(root)
        schema = {**schemas[name], "title": name, **getattr(record, "rules", {})}
        if record in written:
            schema["examples"] = [written[record]]
        schemas[name] = for_generators(with_patterns_for_all(schema))
    return Described(dict(sorted(schemas.items())), references)


def name_of(reference: Json) -> str:
    """The name of the schema that a reference leads to."""
    return str(reference["$ref"]).rpartition("/")[2]


def text_of(document: Any) -> bytes:
    """The bytes of a document's file."""
    return msgspec.json.format(msgspec.json.encode(document), indent=_INDENT) + b"\n"


def _structs(kinds: Iterable[Any], seen: frozenset[Record] = frozenset()) -> Iterator[inspect.StructType]:
    """Every record among the types and within them, outer records first; a record within itself appears once."""
    for kind in kinds:
        if isinstance(kind, inspect.StructType):
            if kind.cls in seen:
                continue
            yield kind
            yield from _structs((field.type for field in kind.fields), seen | {kind.cls})
        else:
            yield from _structs(_parts(kind), seen)


def _parts(kind: inspect.Type) -> list[inspect.Type]:
    """The types that a type other than a record is composed of."""
    values = (value if isinstance(value, tuple) else (value,) for value in msgspec.structs.astuple(kind))
    return [part for value in values for part in value if isinstance(part, inspect.Type)]


def _with_fields(schema: Json, kind: inspect.StructType) -> Json:
    """The schema with a description of each field and with the format of times."""
    properties = dict(schema.get("properties", {}))
    descriptions = attributes_of(kind.cls)
    for field in kind.fields:
        name = field.encode_name
        if _is_time(field.type):
            properties[name] = _time(properties[name])
        properties[name] = _with_description(properties[name], descriptions.get(field.name))
    return {**schema, "properties": properties} if properties else dict(schema)


def _is_time(kind: inspect.Type) -> bool:
    """Return true for a time and for a union with one; a type with a description holds the type itself."""
    parts = _parts(kind) if isinstance(kind, inspect.UnionType | inspect.Metadata) else ()
    return isinstance(kind, inspect.DateTimeType) or any(_is_time(part) for part in parts)


def _with_description(schema: Json, text: str | None) -> Json:
    """The schema with the field's own description, or else with that of its type, which msgspec puts into an alternative."""
    schema = dict(schema)
    alternatives = [dict(each) for each in schema.get("anyOf", ())]
    of_types = [each.pop("description", None) for each in alternatives]
    found = text or next(filter(None, [schema.pop("description", None), *of_types]), None)
    return {**({"description": found} if found else {}), **schema, **({"anyOf": alternatives} if alternatives else {})}


def _time(schema: Json) -> Json:
    if "anyOf" in schema:
        return {**schema, "anyOf": [_time(each) for each in schema["anyOf"]]}
    return {**schema, "format": "date-time"} if schema.get("type") == "string" else schema


def rewritten(schema: Any, change: Callable[[Json], Json]) -> Any:
    """The schema after the change was made to it and to every schema within it, innermost first."""
    if isinstance(schema, list):
        return [rewritten(each, change) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return change({word: _within(word, value, change) for word, value in schema.items()})


def _within(word: str, value: Any, change: Callable[[Json], Json]) -> Any:
    if word == "properties":
        return {name: rewritten(each, change) for name, each in value.items()}
    return value if word in _VALUES else rewritten(value, change)


def with_patterns_for_all(schema: Any) -> Any:
    """The schema with the patterns of ECMA-262, where `$` is the very end; Python's `$` would let a final newline pass."""
    return rewritten(schema, _with_pattern)


def _with_pattern(schema: Json) -> Json:
    pattern = schema.get("pattern")
    return {**schema, "pattern": pattern.replace("\\Z", "$")} if isinstance(pattern, str) else schema


def for_generators(schema: Any) -> Any:
    """
    The schema in the wording that the common generators of clients understand; it accepts the same values.

    openapi-typescript would require a field with a default, and Go has no default null; an integer without a format has 32 bits
    in Go and Java; an enum needs a type; and `items` has to be a schema.
    """
    return rewritten(schema, _for_generators)


def _for_generators(schema: Json) -> Json:
    changed = {word: value for word, value in schema.items() if word != "default"}
    changed |= changed.pop("published", {})  # restrictions by the gateway in addition to the type
    if changed.get("type") == "integer":
        changed.setdefault("format", "int64")
    if isinstance(words := changed.get("enum"), list) and len(kinds := {_TYPES.get(type(word)) for word in words}) == 1:
        changed.setdefault("type", *kinds)
    if changed.get("type") == "array":
        changed.setdefault("items", {})
    if changed.get("items") is False:
        alternatives = [each for part in changed["prefixItems"] for each in part.get("anyOf", [part])]
        changed["items"] = {"anyOf": [each for n, each in enumerate(alternatives) if each not in alternatives[:n]]}
    return changed


def publish(file: Path, text: bytes, arguments: Sequence[str], remedy: str) -> int:
    """Write the file, or with `--check` only compare it with the text; returns the exit code."""
    current = file.exists() and file.read_bytes() == text
    if list(arguments) == ["--check"] and not current:
        sys.stdout.write(f"{file.name}: differs from the code; run `{remedy}`\n")
        return 1
    if not current:
        file.write_bytes(text)
    sys.stdout.write(f"{file.name}: {'up to date' if current else 'written'}\n")
    return 0


_Described = Mapping[str, str]


def attributes_of(cls: type) -> dict[str, str]:
    """The description of each attribute that has one, by name, inherited attributes included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if str(getattr(sys.modules.get(base.__module__), "__file__", "")).endswith(".py"):
            found |= _of_module(base.__module__).get(base.__name__, {})
    return found


@cache
def _of_module(name: str) -> dict[str, _Described]:
    source = getsource(sys.modules[name])
    lines = source.encode().splitlines()  # the syntax tree counts columns in bytes
    return {node.name: dict(_described(node, lines)) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}


def _described(node: ast.ClassDef, lines: list[bytes]) -> Iterator[tuple[str, str]]:
    for statement, after in pairwise([*node.body, ast.Pass()]):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                rest = lines[(statement.end_lineno or 0) - 1][statement.end_col_offset :].decode()
                comment = rest.partition("#:")[2].partition("  #")[0].strip()
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))) if not comment:
                        yield name, cleandoc(text)
                    case _ if comment:
                        yield name, comment
